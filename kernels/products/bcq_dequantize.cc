#include <algorithm>
#include <cstring>

#include "kernels/products/bcq_matmul.h"

// Compiled once for each instruction set, as namespace SUB3_ISA_NAMESPACE.
namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr size_t kLanes = 16;
typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));

}  // namespace

void DequantizeRow(const BcqMatrix& matrix, size_t row, float* out) {
  const BcqSegment& segment = SegmentOf(matrix, row);
  const Words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const size_t first_word = row / kBlockRows * matrix.chunks * kBlockRows + row % kBlockRows;
  for (size_t group = 0; group < matrix.groups; ++group) {
    float scales[kMaxPlanes];
    for (int i = 0; i < segment.planes; ++i) scales[i] = ScaleOf(matrix, segment, i, group, row);
    const size_t end = std::min((group + 1) * matrix.chunks_per_group, matrix.chunks);
    for (size_t chunk = group * matrix.chunks_per_group; chunk < end; ++chunk) {
      Floats sums[2] = {};
      for (int i = 0; i < segment.planes; ++i) {
        const Words word = Words{} + matrix.planes[i][first_word + chunk * kBlockRows];
        const Words scale = reinterpret_cast<Words>(Floats{} + scales[i]);
        for (uint32_t half = 0; half < 2; ++half) {
          const Words negative = ~(word >> (lane + 16 * half)) << 31;  // the sign bit where the code is -1
          sums[half] += reinterpret_cast<Floats>(scale ^ negative);
        }
      }
      const size_t column = chunk * kChunkColumns;
      std::memcpy(out + column, sums, std::min(kChunkColumns, matrix.columns - column) * sizeof(float));
    }
  }
}

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
