#include <cstdlib>
#include <string>

#include "check.h"
#include "kernels/kernels.h"

namespace {

using nq::Kernels;

template <typename Kernel>
struct Kind {
  using Record = Kernel;
};

// Calls `check` with each kind's tag.
template <typename Check>
void for_each_kind(const Check& check) {
  check(Kind<nq::GemmKernel>());
  check(Kind<nq::GroupKernel>());
  check(Kind<nq::DepthwiseKernel>());
  check(Kind<nq::UnpackKernel>());
  check(Kind<nq::QuantizeKernel>());
  check(Kind<nq::AdditionKernel>());
  check(Kind<nq::ElementwiseKernel>());
  check(Kind<nq::ChecksumKernel>());
}

TEST(every_kind_selects_the_fastest_or_the_named) {
  for_each_kind([](auto kind) {
    using Kernel = typename decltype(kind)::Record;
    const Kernel *last = nullptr, *chosen = nullptr;
    for (const Kernel* each : nq::kernels_of<Kernel>()) {
      if (!each->supported()) continue;
      CHECK_OK(nq::select_kernel(each->isa, &chosen));
      CHECK(chosen == each);
      last = each;
    }
    for (const char* any : {static_cast<const char*>(nullptr), ""}) {
      CHECK_OK(nq::select_kernel(any, &chosen));
      CHECK(chosen == last);
    }
  });
}

TEST(every_kind_refuses_a_name_of_no_isa) {
  for_each_kind([](auto kind) {
    const typename decltype(kind)::Record* chosen = nullptr;
    CHECK_FAILS(NQ_INVALID_ARGUMENT, "NQ_ISA=mmx is not", nq::select_kernel("mmx", &chosen));
    CHECK_FAILS(NQ_INVALID_ARGUMENT, "expected one of scalar", nq::select_kernel("AVX2", &chosen));
    CHECK(chosen == nullptr);
  });
  Kernels kernels;
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "NQ_ISA=mmx is not", nq::select_kernels("mmx", &kernels));
}

// A name that one kind of kernel has selects the best of the others at or below it.
TEST(every_name_selects_all_kinds) {
  for_each_kind([](auto kind) {
    for (const auto* each : nq::kernels_of<typename decltype(kind)::Record>()) {
      if (!each->supported()) continue;
      Kernels kernels;
      CHECK_OK(nq::select_kernels(each->isa, &kernels));
      CHECK(kernels.gemm && kernels.groups && kernels.depthwise && kernels.unpack);
      CHECK(kernels.quantize && kernels.addition && kernels.elementwise && kernels.checksum);
    }
  });
  Kernels scalar;
  CHECK_OK(nq::select_kernels("scalar", &scalar));
  for (const char* isa : {scalar.gemm->isa, scalar.groups->isa, scalar.depthwise->isa, scalar.unpack->isa,
                          scalar.quantize->isa, scalar.addition->isa, scalar.elementwise->isa, scalar.checksum->isa}) {
    CHECK_EQ(std::string("scalar"), isa);
  }
#if defined(__SSE2__)
  CHECK_OK(nq::select_kernels("sse2", &scalar));
  CHECK_EQ(std::string("sse2"), scalar.unpack->isa);
  CHECK_EQ(std::string("scalar"), scalar.gemm->isa);
#endif
}

TEST(the_environment_names_the_isa) {
  Kernels kernels;
  setenv("NQ_ISA", "mmx", 1);
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "NQ_ISA=mmx is not", nq::select_kernels(&kernels));
  setenv("NQ_ISA", "scalar", 1);
  CHECK_OK(nq::select_kernels(&kernels));
  CHECK_EQ(std::string("scalar"), kernels.gemm->isa);
  unsetenv("NQ_ISA");
}

}  // namespace
