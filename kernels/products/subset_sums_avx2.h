// AVX2: both products for many columns, by tables of subset sums whose entries are vectors over the columns.
//
// Look-up tables of a column serve all rows, but a look-up is a shuffle and brings one byte. Here a table serves all
// rows and 16 or 32 columns, and a look-up is an addition from memory: 16 columns in 16 bits. A code word has six
// tables, of 5, 5, 6, 5, 5 and 6 of its inputs; entry `key` is the sum of the inputs whose bit is set, for each column.
//
//     for each row, plane and 32 inputs    32 columns    16 columns    ports (Zen 3)
//     vpaddw from memory                   12            6             loads: 2 a cycle
//     sums from and to memory              2 + 2         1 + 1         loads; stores: 1 a cycle
//     shift and mask of a key              11            11            four
//
// The loads bound it: 7 cycles for 1024 weight-bits, 146 a cycle, where tables of two columns have 60 and vpmaddubsw 32
// products whatever their planes. Measured: 300 to 315 G weight-bits/s, 257 to 288 of 16 columns.
//
// Sums of 16 bits are enough although they wrap: the magnitudes |xq| of a window of inputs add up to less than 2^16, so
// the sum of a subset less that of all negative inputs, which the sums begin with, is an unsigned 16-bit number u. Then
// sum B xq = 2 u - sum |xq|.

#ifndef SUB3_KERNELS_SUBSET_SUMS_AVX2_H_
#define SUB3_KERNELS_SUBSET_SUMS_AVX2_H_

#include <immintrin.h>

#include <algorithm>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_matmul.h"
#include "kernels/products/columns_avx2.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {
namespace {

constexpr size_t kTablesOfWord = 6;
constexpr size_t kKeyBits[kTablesOfWord] = {5, 5, 6, 5, 5, 6};
constexpr size_t kKeyShift[kTablesOfWord] = {0, 5, 10, 16, 21, 26};
constexpr size_t kFirstEntry[kTablesOfWord] = {0, 32, 64, 128, 160, 192};
constexpr size_t kEntries = 256;
constexpr size_t kLanesOfVector = 16;  // columns
constexpr size_t kWindowChunks = kWindowColumns / kChunkColumns;

// The memory of one pass over V vectors of columns; the arrays lie one after the other in `scratch`.
template <size_t V>
struct SubsetScratch {
  static constexpr size_t kColumns = V * kLanesOfVector;

  uint16_t* entries;    // [kEntries, kColumns]: the tables of one chunk
  int16_t* inputs;      // [chunks * 32, kColumns]
  uint16_t* negatives;  // [windows, kColumns]: the negative inputs' magnitudes
  int32_t* magnitudes;  // [kColumns]: of all inputs
  float* scales;        // [kColumns]
  uint16_t* sums;       // [kSubsetSums, kColumns]: of the window
  int32_t* totals;      // [kSubsetSums, kColumns]: of the windows before, if there are several
  int16_t* rows;        // [8, chunks * 32]: columns that are quantised, before they are transposed; in place of `sums`

  SubsetScratch(void* scratch, size_t chunks) {
    char* next = static_cast<char*>(scratch);
    const auto take = [&](auto* array, size_t count) {
      char* begin = next;
      next += (count * sizeof *array + 63) / 64 * 64;
      return reinterpret_cast<decltype(array)>(begin);
    };
    const size_t width = chunks * kChunkColumns, windows = (chunks + kWindowChunks - 1) / kWindowChunks;
    entries = take(entries, kEntries * kColumns);
    inputs = take(inputs, width * kColumns);
    negatives = take(negatives, windows * kColumns);
    magnitudes = take(magnitudes, kColumns);
    scales = take(scales, kColumns);
    totals = take(totals, windows > 1 ? kSubsetSums * kColumns : 0);
    sums = reinterpret_cast<uint16_t*>(next);
    rows = reinterpret_cast<int16_t*>(next);
  }
};

// Eight vectors of eight 16-bit numbers, or of eight 32-bit ones, as a matrix the other way round.
inline void Transpose(__m128i (&v)[8]) {
  __m128i pairs[8], fours[8];
  Unroll<4>([&](auto i) {
    pairs[2 * i] = _mm_unpacklo_epi16(v[i], v[i + 4]);
    pairs[2 * i + 1] = _mm_unpackhi_epi16(v[i], v[i + 4]);
  });
  Unroll<4>([&](auto i) {
    fours[2 * i] = _mm_unpacklo_epi16(pairs[i], pairs[i + 4]);
    fours[2 * i + 1] = _mm_unpackhi_epi16(pairs[i], pairs[i + 4]);
  });
  Unroll<4>([&](auto i) {
    v[2 * i] = _mm_unpacklo_epi16(fours[i], fours[i + 4]);
    v[2 * i + 1] = _mm_unpackhi_epi16(fours[i], fours[i + 4]);
  });
}
inline void Transpose(__m256 (&v)[8]) {
  __m256 pairs[8], fours[8];
  Unroll<4>([&](auto i) {
    pairs[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  });
  Unroll<2>([&](auto i) {
    Unroll<2>([&](auto k) {
      const __m256 a = pairs[4 * i + k], b = pairs[4 * i + 2 + k];
      fours[4 * i + 2 * k] = _mm256_shuffle_ps(a, b, 0x44);
      fours[4 * i + 2 * k + 1] = _mm256_shuffle_ps(a, b, 0xee);
    });
  });
  Unroll<4>([&](auto i) {
    v[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
    v[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
  });
}

// A product's contract. Weights provides:
//   static float Quantize(x, columns, chunks, xq)     one column of int16, zeros up to chunks * 32; returns its scale
//   Weights(segment, row)                             those of the 16 rows from `row` on
//   __m256 Row(r, sum) const                          of eight columns, before the column's scale is applied;
//                                                     sum(plane): the integers of the row's plane
template <class Weights, size_t V>
class SubsetSums {
 public:
  SubsetSums(const float* x, size_t x_stride, size_t columns, size_t n, void* scratch)
      : memory_(scratch, NumChunks(columns)), chunks_(NumChunks(columns)), n_(n) {
    const size_t width = chunks_ * kChunkColumns;
    for (size_t j = 0; j < kColumns; j += 8) {
      for (size_t c = j; c < j + 8; ++c) {
        int16_t* row = memory_.rows + (c - j) * width;
        if (c < n) {
          memory_.scales[c] = Weights::Quantize(x + c * x_stride, columns, chunks_, row);
        } else {
          std::fill_n(row, width, int16_t{0});
        }
      }
      for (size_t k = 0; k < width; k += 8) {
        __m128i eight[8];
        Unroll<8>([&](auto i) {
          eight[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(memory_.rows + i * width + k));
        });
        Transpose(eight);
        Unroll<8>([&](auto i) {
          _mm_store_si128(reinterpret_cast<__m128i*>(memory_.inputs + (k + i) * kColumns + j), eight[i]);
        });
      }
    }
    SumMagnitudes();
  }

  // Writes the outputs y[c * y_stride + row] of the product's rows in the segment, which it has clipped.
  void Segment(const Product& product, const BcqSegment& segment, float* y) {
    const size_t end = (segment.end + kBlockRows - 1) / kBlockRows;
    const size_t most = std::max<size_t>(kSubsetSums / (kBlockRows * segment.planes), 1);
    for (size_t block = segment.begin / kBlockRows; block < end; block += most) {
      Blocks(product, segment, block, std::min(block + most, end), y);
    }
  }

 private:
  static constexpr size_t kColumns = V * kLanesOfVector;
  static constexpr size_t kEntryBytes = kColumns * sizeof(uint16_t);

  void SumMagnitudes() {
    std::fill_n(memory_.magnitudes, kColumns, 0);
    for (size_t chunk = 0, window = 0; chunk < chunks_; chunk += kWindowChunks, ++window) {
      const size_t first = chunk * kChunkColumns, last = std::min(chunk + kWindowChunks, chunks_) * kChunkColumns;
      __m256i magnitudes[V] = {}, negatives[V] = {};
      for (size_t k = first; k < last; ++k) {
        Unroll<V>([&](auto v) {
          const __m256i input = Load(memory_.inputs + k * kColumns + v * kLanesOfVector);
          magnitudes[v] = _mm256_add_epi16(magnitudes[v], _mm256_abs_epi16(input));
          negatives[v] = _mm256_sub_epi16(negatives[v], _mm256_min_epi16(input, _mm256_setzero_si256()));
        });
      }
      Unroll<V>([&](auto v) {
        Store(negatives[v], memory_.negatives + window * kColumns + v * kLanesOfVector);
        int32_t* all = memory_.magnitudes + v * kLanesOfVector;
        const __m128i halves[2] = {_mm256_castsi256_si128(magnitudes[v]), _mm256_extracti128_si256(magnitudes[v], 1)};
        Unroll<2>(
            [&](auto i) { Store(_mm256_add_epi32(Load(all + 8 * i), _mm256_cvtepu16_epi32(halves[i])), all + 8 * i); });
      });
    }
  }

  void BuildTables(size_t chunk) {
    const int16_t* inputs = memory_.inputs + chunk * kChunkColumns * kColumns;
    Unroll<kTablesOfWord>([&](auto table) {
      uint16_t* entries = memory_.entries + kFirstEntry[table] * kColumns;
      std::fill_n(entries, kColumns, uint16_t{0});
      Unroll<kKeyBits[table]>([&](auto bit) {
        constexpr size_t kHalf = size_t{1} << bit;
        __m256i input[V];
        Unroll<V>([&](auto v) { input[v] = Load(inputs + (kKeyShift[table] + bit) * kColumns + v * kLanesOfVector); });
        for (size_t key = 0; key < kHalf; ++key) {
          Unroll<V>([&](auto v) {
            uint16_t* entry = entries + key * kColumns + v * kLanesOfVector;
            Store(_mm256_add_epi16(Load(entry), input[v]), entry + kHalf * kColumns);
          });
        }
      });
    });
  }

  static void Store(__m256i v, void* to) { _mm256_store_si256(static_cast<__m256i*>(to), v); }

  // Adds the subsets of 16 rows' code words to their sums; row r's are before[r * step] until then.
  static void AddSubsets(const uint32_t* words, const char* tables, const uint16_t* before, size_t step,
                         uint16_t* sums) {
    for (size_t r = 0; r < kBlockRows; ++r, sums += kColumns, before += step) {
      const uint32_t word = words[r];
      __m256i sum[V];
      Unroll<V>([&](auto v) { sum[v] = Load(before + v * kLanesOfVector); });
      Unroll<kTablesOfWord>([&](auto table) {
        constexpr uint32_t kMask = ((1u << kKeyBits[table]) - 1) * kEntryBytes;
        constexpr int kUp = __builtin_ctz(kEntryBytes) - static_cast<int>(kKeyShift[table]);
        const uint32_t offset = (kUp >= 0 ? word << (kUp & 31) : word >> (-kUp & 31)) & kMask;
        const char* entry = tables + kFirstEntry[table] * kEntryBytes + offset;
        Unroll<V>([&](auto v) { sum[v] = AddShortsAt(sum[v], entry + v * sizeof(__m256i)); });
      });
      Unroll<V>([&](auto v) { Store(sum[v], sums + v * kLanesOfVector); });
    }
  }

  void Blocks(const Product& product, const BcqSegment& segment, size_t begin, size_t end, float* y) {
    const BcqMatrix& matrix = *product.weight;
    const size_t planes = static_cast<size_t>(segment.planes);
    const size_t num_sums = (end - begin) * planes * kBlockRows * kColumns;
    for (size_t window = 0; window * kWindowChunks < chunks_; ++window) {
      if (window == 1) std::fill_n(memory_.totals, num_sums, 0);
      if (window > 0) AddToTotals(num_sums);
      const size_t first = window * kWindowChunks, last = std::min(first + kWindowChunks, chunks_);
      for (size_t chunk = first; chunk < last; ++chunk) {
        BuildTables(chunk);
        const char* tables = reinterpret_cast<const char*>(memory_.entries);
        const uint16_t* negatives = memory_.negatives + window * kColumns;
        uint16_t* sums = memory_.sums;
        for (size_t block = begin; block < end; ++block) {
          for (size_t plane = 0; plane < planes; ++plane, sums += kBlockRows * kColumns) {
            const uint32_t* words = matrix.planes[plane] + (block * chunks_ + chunk) * kBlockRows;
            _mm_prefetch(words + kBlockRows, _MM_HINT_T0);
            if (chunk == first) {
              AddSubsets(words, tables, negatives, 0, sums);
            } else {
              AddSubsets(words, tables, sums, kColumns, sums);
            }
          }
        }
      }
    }
    for (size_t block = begin; block < end; ++block) {
      StoreBlock(product, segment, block, (block - begin) * planes * kBlockRows * kColumns, y);
    }
  }

  void AddToTotals(size_t num_sums) {
    for (size_t i = 0; i < num_sums; i += 8) Store(Total(i), memory_.totals + i);
  }

  // Eight sums of the windows so far, the present one included.
  __m256i Total(size_t i) const {
    const __m256i sums = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(memory_.sums + i)));
    return _mm256_add_epi32(sums, Load(memory_.totals + i));
  }

  void StoreBlock(const Product& product, const BcqSegment& segment, size_t block, size_t first_sum, float* y) const {
    const size_t row = block * kBlockRows;
    const size_t first = std::max(row, segment.begin) - row, last = std::min(row + kBlockRows, segment.end) - row;
    const bool several = chunks_ > kWindowChunks;
    const Weights weights(segment, row);
    for (size_t j = 0; j < n_; j += 8) {
      const __m256i magnitudes = Load(memory_.magnitudes + j);
      __m256 values[2][8];
      Unroll<2>([&](auto half) {
        Unroll<8>([&](auto i) {
          const size_t r = 8 * half + i;
          values[half][i] = weights.Row(r, [&](size_t plane) {
            const size_t at = first_sum + (plane * kBlockRows + r) * kColumns + j;
            const auto* sums = reinterpret_cast<const __m128i*>(memory_.sums + at);
            const __m256i u = several ? Total(at) : _mm256_cvtepu16_epi32(_mm_load_si128(sums));
            return _mm256_sub_epi32(_mm256_add_epi32(u, u), magnitudes);
          });
        });
        Transpose(values[half]);
      });
      const float* bias = product.bias ? product.bias + row : nullptr;
      for (size_t c = j; c < std::min(j + 8, n_); ++c) {
        const __m256 scale = _mm256_set1_ps(memory_.scales[c]);
        const __m256 column[2] = {_mm256_mul_ps(values[0][c - j], scale), _mm256_mul_ps(values[1][c - j], scale)};
        StoreRows(column, bias, first, last, y + c * product.y_stride + row);
      }
    }
  }

  const SubsetScratch<V> memory_;
  const size_t chunks_, n_;
};

// Computes the products' segments of one scale group and at most `most_planes` planes for the first columns of x, as
// many as pay; returns how many those are.
template <class Weights>
size_t MultiplyBySubsetSums(const Product* products, size_t num_products, int most_planes, const float* x,
                            size_t x_stride, size_t columns, size_t n, void* scratch) {
  size_t j = 0;
  const auto pass = [&](auto vectors, size_t count) {
    SubsetSums<Weights, vectors> sums(x + j * x_stride, x_stride, columns, count, scratch);
    for (size_t p = 0; p < num_products; ++p) {
      const Product& product = products[p];
      if (product.weight->groups > 1) continue;
      for (const BcqSegment& whole : product.weight->segments) {
        const BcqSegment segment = product.Clip(whole);
        if (segment.begin < segment.end && segment.planes <= most_planes) {
          sums.Segment(product, segment, product.y + j * product.y_stride);
        }
      }
    }
    j += count;
  };
  // A pass costs the same whatever lanes are idle: one vector as much as tables of 13 columns, two as those of 20.
  while (n - j >= kSubsetColumns) {
    if (n - j > 20) {
      pass(std::integral_constant<size_t, 2>{}, std::min<size_t>(n - j, 2 * kLanesOfVector));
    } else {
      pass(std::integral_constant<size_t, 1>{}, std::min<size_t>(n - j, kLanesOfVector));
    }
  }
  return j;
}

}  // namespace
}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3

#endif  // SUB3_KERNELS_SUBSET_SUMS_AVX2_H_
