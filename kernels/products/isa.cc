#include "kernels/products/isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sub3 {

namespace {

struct Candidate {
  Isa isa;
  bool (*supported)();
};

#if defined(__x86_64__)
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool HasAvxVnni() {  // which not every compiler's __builtin_cpu_supports knows
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}

#ifdef SUB3_AMX
// Tile registers take 8 kB of a thread's state, so Linux wants to be asked for them, once a process.
bool HasAmx() {
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;  // of edx
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a, b, c, d;
  return HasAvx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kTile) && (d & kInt8) &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif
#endif

// Best first.
constexpr Candidate kCandidates[] = {
#if defined(__x86_64__)
#ifdef SUB3_AMX
    {{"amx", amx::BcqMatmul, amx::BcqInt8Matmul, avx512::DequantizeRow, &avx512::kFloatOps}, HasAmx},
#endif
    {{"avx512", avx512::BcqMatmul, avx512::BcqInt8Matmul, avx512::DequantizeRow, &avx512::kFloatOps}, HasAvx512},
    {{"avx2_vnni", avx2::BcqMatmul, avx2_vnni::BcqInt8Matmul, avx2::DequantizeRow, &avx2::kFloatOps},
     [] { return HasAvx2() && HasAvxVnni(); }},
    {{"avx2", avx2::BcqMatmul, avx2::BcqInt8Matmul, avx2::DequantizeRow, &avx2::kFloatOps}, HasAvx2},
#elif defined(__aarch64__)
    {{"neon_dotprod", neon::BcqMatmul, neon_dotprod::BcqInt8Matmul, neon::DequantizeRow, &neon::kFloatOps},
     [] { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }},
    {{"neon", neon::BcqMatmul, neon::BcqInt8Matmul, neon::DequantizeRow, &neon::kFloatOps}, [] { return true; }},
#endif
    {{"scalar", scalar::BcqMatmul, scalar::BcqInt8Matmul, scalar::DequantizeRow, &scalar::kFloatOps},
     [] { return true; }},
};

const Isa& Choose() {
  const char* forced = std::getenv("SUB3_FORCE_ISA");
  if (forced != nullptr && *forced != '\0') return IsaByName(forced);
  return *UsableIsas().front();  // scalar at least
}

}  // namespace

std::vector<const Isa*> UsableIsas() {
  static const std::vector<const Isa*> usable = [] {  // once: asking the CPU of a virtual machine takes 10 us
    std::vector<const Isa*> found;
    for (const Candidate& candidate : kCandidates) {
      if (candidate.supported()) found.push_back(&candidate.isa);
    }
    return found;
  }();
  return usable;
}

const Isa& IsaByName(const char* name) {
  std::string usable;
  for (const Isa* isa : UsableIsas()) {
    if (std::strcmp(isa->name, name) == 0) return *isa;
    usable += usable.empty() ? isa->name : std::string(", ") + isa->name;
  }
  throw std::invalid_argument("Instruction set \"" + std::string(name) +
                              "\" is unknown or not on this CPU; usable are " + usable + ".");
}

const Isa& ActiveIsa() {
  static const Isa& isa = Choose();
  return isa;
}

}  // namespace sub3
