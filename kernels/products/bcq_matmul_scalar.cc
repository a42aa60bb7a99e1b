// Scalar, the reference and the fallback: the contracts of bcq_matmul.h and bcq_int8_matmul.h in the plainest form that
// is fast enough to run a whole test set. Tables of 16 signed sums for each four inputs, one look-up a nibble.

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/products/bcq_int8_matmul.h"

namespace sub3 {

namespace {

constexpr size_t kTablesPerChunk = kChunkColumns / 4;

// The integer next to a number. NaN, which only weights or inputs beyond float32 make, has none, and is 0.
int Rounded(float value) { return std::isnan(value) ? 0 : static_cast<int>(std::nearbyint(value)); }

// tables [chunks, 8, 16]; returns s.
float BuildTables(const float* x, size_t columns, size_t chunks, int16_t* tables) {
  float maximum = 0;
  for (size_t c = 0; c < columns; ++c) maximum = std::max(maximum, std::fabs(x[c]));
  const bool zero = maximum < kSmallestMaximum;
  const auto round = [&](size_t c, float factor) { return Rounded(x[c] * factor); };
  int32_t most = 0;
  for (size_t begin = 0; begin < columns && !zero; begin += kWindowColumns) {
    int32_t sum = 0;
    for (size_t c = begin; c < std::min(begin + kWindowColumns, columns); ++c) {
      sum += std::abs(round(c, kMaxQuantized / maximum));
    }
    most = std::max(most, sum);
  }
  const float steps = Steps(most);
  for (size_t t = 0; t < chunks * kTablesPerChunk; ++t) {
    int quantized[4];
    for (size_t k = 0; k < 4; ++k) {
      const size_t c = 4 * t + k;
      quantized[k] = c < columns && !zero ? round(c, steps / maximum) : 0;
    }
    for (int key = 0; key < 16; ++key) {
      int sum = 0;
      for (int k = 0; k < 4; ++k) sum += (key >> k & 1) ? quantized[k] : -quantized[k];
      tables[16 * t + key] = static_cast<int16_t>(sum);
    }
  }
  return zero ? 0.0f : maximum / steps;
}

// The integers of a row's scales and its rho.
struct Int8Scales {
  int a[kMaxInt8Planes];
  float rho;
};

Int8Scales RoundScales(const BcqMatrix& matrix, const BcqSegment& segment, size_t row) {
  float alpha[kMaxInt8Planes], total = 0;
  for (int i = 0; i < segment.planes; ++i) {
    alpha[i] = ScaleOf(matrix, segment, i, 0, row);
    total = total + std::fabs(alpha[i]);
  }
  const float inverse = total > 0 ? kMaxInt8Weight / total : 0.0f;
  Int8Scales rounded{{}, total / kMaxInt8Weight};
  for (int i = 0; i < segment.planes; ++i) rounded.a[i] = Rounded(alpha[i] * inverse);
  return rounded;
}

float RowProduct(const BcqMatrix& matrix, size_t row, const int16_t* tables) {
  const BcqSegment& segment = SegmentOf(matrix, row);
  float total = 0;
  for (size_t group = 0; group < matrix.groups; ++group) {
    const size_t first = group * matrix.chunks_per_group;
    const size_t last = std::min(first + matrix.chunks_per_group, matrix.chunks);
    for (int plane = 0; plane < segment.planes; ++plane) {
      const uint32_t* words = WordsOf(matrix, plane, row);
      int32_t sum = 0;
      for (size_t chunk = first; chunk < last; ++chunk) {
        const int16_t* table = tables + chunk * kTablesPerChunk * 16;
        uint32_t word = words[chunk * kBlockRows];
        for (size_t t = 0; t < kTablesPerChunk; ++t, word >>= 4, table += 16) sum += table[word & 15];
      }
      total = total + ScaleOf(matrix, segment, plane, group, row) * static_cast<float>(sum);
    }
  }
  return total;
}

}  // namespace

namespace scalar {

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  auto* tables = static_cast<int16_t*>(scratch);
  const size_t chunks = NumChunks(columns);
  for (size_t j = 0; j < n; ++j) {
    const float scale = BuildTables(x + j * x_stride, columns, chunks, tables);
    for (size_t p = 0; p < num_products; ++p) {
      const Product& product = products[p];
      float* y = product.y + j * product.y_stride;
      for (size_t row = product.begin; row < product.end; ++row) {
        const float value = RowProduct(*product.weight, row, tables) * scale;
        y[row] = product.bias ? value + product.bias[row] : value;
      }
    }
  }
}

void BcqInt8Matmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  auto* weights = static_cast<int8_t*>(scratch);
  auto* xq = weights + columns;
  for (size_t j = 0; j < n; ++j) {
    const float* input = x + j * x_stride;
    float maximum = 0;
    for (size_t c = 0; c < columns; ++c) maximum = std::max(maximum, std::fabs(input[c]));
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kMaxInt8Input / maximum;
    const float scale = inverse == 0 ? 0.0f : maximum / kMaxInt8Input;
    for (size_t c = 0; c < columns; ++c) xq[c] = static_cast<int8_t>(Rounded(input[c] * inverse));
    for (size_t p = 0; p < num_products; ++p) {
      const Product& product = products[p];
      const BcqMatrix& matrix = *product.weight;
      for (size_t row = product.begin; row < product.end; ++row) {
        const BcqSegment& segment = SegmentOf(matrix, row);
        const Int8Scales scales = RoundScales(matrix, segment, row);
        std::fill(weights, weights + columns, int8_t{0});
        for (int plane = 0; plane < segment.planes; ++plane) {
          const uint32_t* words = WordsOf(matrix, plane, row);
          const auto a = static_cast<int8_t>(scales.a[plane]);
          for (size_t c = 0; c < columns; ++c) {
            const bool positive = words[c / kChunkColumns * kBlockRows] >> (c % kChunkColumns) & 1;
            weights[c] = static_cast<int8_t>(positive ? weights[c] + a : weights[c] - a);
          }
        }
        int32_t sum = 0;
        for (size_t c = 0; c < columns; ++c) sum += weights[c] * xq[c];
        const float value = static_cast<float>(sum) * scales.rho * scale;
        product.y[j * product.y_stride + row] = product.bias ? value + product.bias[row] : value;
      }
    }
  }
}

}  // namespace scalar
}  // namespace sub3
