// src/kernels/gemm/gemm_amx.cc once more, with every AMX instruction replaced by its emulation.
#include "emulated_tiles.h"

#if defined(NQ_AMX)
#include <immintrin.h>

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_loadconfig(configuration) nq_test::load_tile_configuration(configuration)
#define _tile_release() nq_test::release_tiles()
#define _tile_loadd(tile, from, stride) nq_test::load_tile(tile, from, stride)
#define _tile_stored(tile, to, stride) nq_test::store_tile(tile, to, stride)
#define _tile_dpbssd(sums, rows, codes) nq_test::multiply_int8_tiles(sums, rows, codes)
#define gemm_amx gemm_emulated_amx
#define unpack_avx512vnni unpack_counted
#include "../src/kernels/gemm/gemm_amx.cc"
#undef unpack_avx512vnni

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

void unpack_counted(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  nq_test::count_unpacked(codes, num_superblocks);
  unpack_avx512vnni(levels, middle, num_superblocks, codes);
}

}  // namespace nq

namespace nq_test {
namespace {

void begin_after_others() {
  spoil_tiles();
  nq::gemm_emulated_amx.around.begin();
}

void end_for_others() {
  nq::gemm_emulated_amx.around.end();
  check_tiles_are_released();
}

nq::GemmKernel emulated_amx() {
  nq::GemmKernel kernel = nq::gemm_emulated_amx;
  kernel.isa = "emulated amx";
  kernel.supported = nq::has_avx512vnni;
  kernel.around.begin = begin_after_others;
  kernel.around.end = end_for_others;
  return kernel;
}

}  // namespace

std::vector<const nq::GemmKernel*> emulated_kernels() {
  static const nq::GemmKernel kernel = emulated_amx();
  return {&kernel};
}

}  // namespace nq_test
#else
std::vector<const nq::GemmKernel*> nq_test::emulated_kernels() { return {}; }
#endif
