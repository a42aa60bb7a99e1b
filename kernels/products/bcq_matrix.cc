#include "kernels/products/bcq_matrix.h"

#include <algorithm>
#include <cstring>

namespace sub3 {

bool FitsInt8(const BcqMatrix& matrix, int max_planes) {
  return matrix.groups == 1 && std::all_of(matrix.segments.begin(), matrix.segments.end(),
                                           [&](const BcqSegment& s) { return s.planes <= max_planes; });
}

const BcqSegment& SegmentOf(const BcqMatrix& matrix, size_t row) {
  for (const BcqSegment& segment : matrix.segments) {
    if (row < segment.end) return segment;
  }
  return matrix.segments.back();
}

const uint32_t* WordsOf(const BcqMatrix& matrix, int plane, size_t row) {
  return matrix.planes[plane] + row / kBlockRows * matrix.chunks * kBlockRows + row % kBlockRows;
}

float ScaleOf(const BcqMatrix& matrix, const BcqSegment& segment, int plane, size_t group, size_t row) {
  return HalfToFloat(segment.scales[(plane * matrix.groups + group) * segment.scale_rows + row - segment.scale_begin]);
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace sub3
