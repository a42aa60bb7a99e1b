// The kernels of each instruction set, and the choice of one: the best that the CPU has, or SUB3_FORCE_ISA.

#ifndef SUB3_KERNELS_ISA_H_
#define SUB3_KERNELS_ISA_H_

#include <vector>

#include "kernels/floats/float_ops.h"
#include "kernels/products/bcq_int8_matmul.h"
#include "kernels/products/bcq_matmul.h"

namespace sub3 {

struct Isa {
  const char* name;
  BcqMatmulFunction *bcq_matmul, *bcq_int8_matmul;
  DequantizeRowFunction* dequantize_row;
  const FloatOps* float_ops;
};

// The instruction sets that this CPU can run, best first.
std::vector<const Isa*> UsableIsas();

// Throws std::invalid_argument for a name that is unknown or that this CPU can't run.
const Isa& IsaByName(const char* name);

// Chosen at the first call. Throws std::invalid_argument if SUB3_FORCE_ISA is unknown or can't run.
const Isa& ActiveIsa();

}  // namespace sub3

#endif  // SUB3_KERNELS_ISA_H_
