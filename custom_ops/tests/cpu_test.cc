#include "kernels/cpu.h"

#include <fstream>

#include "check.h"

namespace {

#if defined(__x86_64__) || defined(__i386__)
// The first processor's flags, between spaces.
std::string flags_of_the_system() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) == 0) return line + " ";
  }
  return "";
}

bool all_of(const std::string& flags, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!nq_test::contains(flags, " " + name + " ")) return false;
  }
  return true;
}

TEST(features_are_those_that_the_system_tells_of) {
  const std::string flags = flags_of_the_system();
  CHECK_EQ(all_of(flags, {"pclmulqdq"}), nq::has_pclmulqdq());
  CHECK_EQ(all_of(flags, {"avx2"}), nq::has_avx2());
  CHECK_EQ(all_of(flags, {"avx2", "avx_vnni"}), nq::has_avxvnni());
  CHECK_EQ(all_of(flags, {"avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"}), nq::has_avx512vnni());
  CHECK_EQ(all_of(flags, {"pclmulqdq", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "vpclmulqdq"}),
           nq::has_avx512vpclmulqdq());
}
#endif

TEST(some_kernels_run_everywhere) { CHECK(nq::always()); }

}  // namespace
