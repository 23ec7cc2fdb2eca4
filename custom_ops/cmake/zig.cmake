# Builds for another Linux, or an older one, with the Clang of the Python package `ziglang`.
#
#   NQ_ZIG_TARGET   zig's name of the target and its oldest glibc: aarch64-linux-gnu.2.17
#   NQ_ZIG_PYTHON   a Python that has the package
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "$ENV{NQ_ZIG_TARGET}")
set(CMAKE_CXX_COMPILER "$ENV{NQ_ZIG_PYTHON}" -m ziglang c++ -target $ENV{NQ_ZIG_TARGET})
# libc++ comes along, with symbols that nobody needs.
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
# It names CPUs where others name architectures, and fails on those.
set(NQ_CRC32_OPTIONS -mcpu=generic+crc)
set(NQ_NEONDOTPROD_OPTIONS -mcpu=generic+dotprod)
set(NQ_NEONI8MM_OPTIONS -mcpu=generic+dotprod+i8mm)
