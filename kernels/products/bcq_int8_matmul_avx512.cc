// AVX-512 with VBMI and VNNI: the int8 GEMM of bcq_int8_matmul.h.
//
// Unpacked weights lie [4 columns each][block][16 rows][4 columns] as unsigned bytes W + 128, so that one 64-byte load
// and vpdpbusd serve 16 rows and 4 columns; the surplus, 128 * sum(xq), is taken off at the start. Columns j, j + 8,
// j + 16 and j + 24 of a chunk come together: they are bit j of a code word's four bytes, which vptestmb makes a mask.
//
//     unpacking, for each 64 weights      count        multiplying, for each 64 products
//     vptestmb (bits -> mask)             planes       vpdpbusd                       1
//     vpaddb {mask}                       planes       loads: 4 weights, 6 inputs     10 / 24
//
// 24 accumulators (4 blocks x 6 columns) hide the latency; the bound is the ports of vpdpbusd: on Zen 4 one a cycle, 64
// products, on Zen 5 two.

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_int8_tiles.h"
#include "kernels/products/columns_avx512.h"
#ifdef __AMX_INT8__
#include "kernels/products/tiles_amx.h"
#endif

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr size_t kColumnsAtOnce = 6;
constexpr size_t kStep = 4 * kInt8TileRows;  // bytes of unpacked weights for four columns

struct Int8Isa {
  using Input = int8_t;
  using Weight = uint8_t;
#ifdef __AMX_INT8__
  static constexpr size_t kChunksAtOnce = kTileColumns / kChunkColumns;
#else
  static constexpr size_t kChunksAtOnce = 1;
#endif

  static void RoundScales(const BcqSegment& segment, size_t row, Int8Tile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += kBlockRows) {
      __m512 alpha[kMaxInt8Planes], total = _mm512_setzero_ps();
      for (int i = 0; i < segment.planes; ++i) {
        const void* halves = scales + i * segment.scale_rows + r;
        alpha[i] = _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(halves)));
        total = _mm512_add_ps(total, _mm512_abs_ps(alpha[i]));
      }
      const __mmask16 some = _mm512_cmp_ps_mask(total, _mm512_setzero_ps(), _CMP_GT_OQ);
      const __m512 inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(kMaxInt8Weight), total);
      _mm512_storeu_ps(tile->rho + r, _mm512_div_ps(total, _mm512_set1_ps(kMaxInt8Weight)));
      for (int i = 0; i < segment.planes; ++i) {
        _mm512_storeu_si512(tile->a[i] + r, _mm512_cvtps_epi32(_mm512_mul_ps(alpha[i], inverse)));
      }
    }
  }

  static Int8Column Quantize(const float* x, size_t columns, size_t chunks, int8_t* xq) {
    const float maximum = Largest(x, columns);
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kMaxInt8Input / maximum;
    for (size_t c = 0; c < chunks * kChunkColumns; c += 16) {
      const __m512 values = _mm512_mul_ps(_mm512_maskz_loadu_ps(Tail(columns, c), x + c), _mm512_set1_ps(inverse));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(xq + c), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values)));
    }
    for (size_t c = 0; c < chunks * kChunkColumns; c += kChunkColumns) {
      auto* chunk = reinterpret_cast<__m256i*>(xq + c);
      _mm256_storeu_si256(chunk, InUnpackedOrder(_mm256_loadu_si256(chunk)));
    }
    return {inverse == 0 ? 0.0f : maximum / kMaxInt8Input, Sum(xq, chunks * kChunkColumns)};
  }

  static void Unpack(const Int8Tile& tile, uint8_t* weights) {
    switch (tile.num_planes) {
      case 1:
        return UnpackPlanes<1>(tile, weights);
      case 2:
        return UnpackPlanes<2>(tile, weights);
      case 3:
        return UnpackPlanes<3>(tile, weights);
      case 4:
        return UnpackPlanes<4>(tile, weights);
      case 5:
        return UnpackPlanes<5>(tile, weights);
      default:
        return UnpackPlanes<6>(tile, weights);
    }
  }

  static void Multiply(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                       const Int8Output& output) {
#ifdef __AMX_INT8__
    if (n >= kLeastTileTokens) return Tiles(tile, weights, xq, s, n, output);
#endif
    switch (tile.num_blocks) {
      case 1:
        return Blocks<1>(tile, weights, xq, s, n, output);
      case 2:
        return Blocks<2>(tile, weights, xq, s, n, output);
      case 3:
        return Blocks<3>(tile, weights, xq, s, n, output);
      default:
        return Blocks<4>(tile, weights, xq, s, n, output);
    }
  }

 private:
  // W + 128 = 128 - sum_i a_i + 2 sum_{i: bit set} a_i, in bytes that wrap.
  template <int P>
  static void UnpackPlanes(const Int8Tile& tile, uint8_t* weights) {
    const __m512i spread = _mm512_set1_epi32(0x01010101);
    for (size_t block = 0; block < tile.num_blocks; ++block) {
      __m512i twice[P], base = _mm512_set1_epi32(128);
      const uint32_t* codes[P];
      for (int i = 0; i < P; ++i) {
        const __m512i a = Load(tile.a[i] + block * kBlockRows);
        base = _mm512_sub_epi32(base, a);
        const __m512i low = _mm512_and_si512(_mm512_add_epi32(a, a), _mm512_set1_epi32(255));
        twice[i] = _mm512_mullo_epi32(low, spread);
        codes[i] = tile.planes[i] + block * tile.chunks * kBlockRows;
      }
      base = _mm512_mullo_epi32(_mm512_and_si512(base, _mm512_set1_epi32(255)), spread);
      const size_t next_tile = kInt8TileBlocks * tile.chunks * kBlockRows;  // prefetched: 3 % of an encoder of base
      uint8_t* out = weights + 64 * block;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        __m512i words[P];
        for (int i = 0; i < P; ++i) {
          words[i] = Load(codes[i] + chunk * kBlockRows);
          _mm_prefetch(codes[i] + chunk * kBlockRows + next_tile, _MM_HINT_T1);
        }
        for (int bit = 0; bit < 8; ++bit, out += kStep) {
          const __m512i which = _mm512_set1_epi8(static_cast<char>(1 << bit));
          __m512i w = base;
          for (int i = 0; i < P; ++i) {
            w = _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(words[i], which), w, twice[i]);
          }
          _mm512_store_si512(out, w);
        }
      }
    }
  }

  template <int B>
  static void Blocks(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                     const Int8Output& output) {
    const size_t width = tile.width;
    size_t j = 0;
    for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) {
      Columns<B, kColumnsAtOnce>(tile, weights, xq + j * width, s + j, j, output);
    }
    switch (n - j) {
      case 1:
        return Columns<B, 1>(tile, weights, xq + j * width, s + j, j, output);
      case 2:
        return Columns<B, 2>(tile, weights, xq + j * width, s + j, j, output);
      case 3:
        return Columns<B, 3>(tile, weights, xq + j * width, s + j, j, output);
      case 4:
        return Columns<B, 4>(tile, weights, xq + j * width, s + j, j, output);
      case 5:
        return Columns<B, 5>(tile, weights, xq + j * width, s + j, j, output);
      default:
        return;
    }
  }

  template <int B, int C>
  static void Columns(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t j,
                      const Int8Output& output) {
    __m512i sums[B * C];
    Unroll<B * C>([&](auto i) { sums[i] = _mm512_set1_epi32(-128 * s[i / B].sum); });
    for (size_t k = 0; k < tile.chunks * kChunkColumns; k += 4, weights += kStep) {
      __m512i w[B];
      Unroll<B>([&](auto b) { w[b] = Load(weights + 64 * b); });
      // One input at a time: loaded all at once they sent two accumulators to memory, 1.09 times as long.
      Unroll<C>([&](auto c) {
        int32_t four;
        __builtin_memcpy(&four, xq + c * tile.width + k, sizeof four);
        const __m512i input = _mm512_set1_epi32(four);
        Unroll<B>([&](auto b) { sums[c * B + b] = _mm512_dpbusd_epi32(sums[c * B + b], w[b], input); });
      });
    }
    Unroll<B * C>([&](auto i) { Write(tile, i % B, sums[i], s[i / B].s, j + i / B, output); });
  }

#ifdef __AMX_INT8__
  static void Tiles(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                    const Int8Output& output) {
    const Shares shares(n, kTileRows);
    const TileRegisters registers(shares.size);
    size_t block = 0;
    for (; block + 2 <= tile.num_blocks; block += 2) BlocksOfTiles<2>(tile, weights, block, xq, s, shares, output);
    if (block < tile.num_blocks) BlocksOfTiles<1>(tile, weights, block, xq, s, shares, output);
  }

  template <size_t B>
  static void BlocksOfTiles(const Int8Tile& tile, const uint8_t* weights, size_t block, const int8_t* xq,
                            const Int8Column* s, const Shares& shares, const Int8Output& output) {
    size_t share = 0;
    for (; share + 2 <= shares.count; share += 2) SumsOfTiles<B, 2>(tile, weights, block, xq, s, shares, share, output);
    if (share < shares.count) SumsOfTiles<B, 1>(tile, weights, block, xq, s, shares, share, output);
  }

  // B blocks and A shares of the columns of x.
  template <size_t B, size_t A>
  static void SumsOfTiles(const Int8Tile& tile, const uint8_t* weights, size_t block, const int8_t* xq,
                          const Int8Column* s, const Shares& shares, size_t share, const Int8Output& output) {
    const size_t first = shares.Begin(share), between = A > 1 ? shares.Begin(share + 1) - first : 0;
    alignas(64) int32_t sums[kTileRows * kBlockRows];
    Unroll<B * A>([&](auto i) { ZeroSums<i>(); });
    MultiplyTiles<B, A, true>({weights + 64 * block, 64, kTileRows * kStep, kStep},
                              {xq + first * tile.width, between * tile.width, kTileColumns, tile.width},
                              tile.width / kTileColumns);
    Unroll<B * A>([&](auto i) {
      StoreSums<i>(sums);
      const size_t j = first + i % A * between;
      for (size_t t = 0; t < shares.size; ++t) {
        const __m512i surplus = _mm512_set1_epi32(128 * s[j + t].sum);
        Write(tile, block + i / A, _mm512_sub_epi32(Load(sums + t * kBlockRows), surplus), s[j + t].s, j + t, output);
      }
    });
  }
#endif

  static void Write(const Int8Tile& tile, size_t block, __m512i sum, float s, size_t j, const Int8Output& output) {
    const size_t row = block * kBlockRows;
    const __mmask16 inside = Inside(row, output.first, output.last);
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(tile.rho + row));
    value = _mm512_mul_ps(value, _mm512_set1_ps(s));
    const float* bias = output.product->bias;
    if (bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(inside, bias + output.row + row));
    _mm512_mask_storeu_ps(output.At(j) + row, inside, value);
  }

  static int32_t Sum(const int8_t* xq, size_t width) {
    __m512i sum = _mm512_setzero_si512();  // vpdpbusd's first factor is unsigned: ones
    size_t k = 0;
    for (; k + 64 <= width; k += 64) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), Load(xq + k));
    if (k < width) {
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_maskz_loadu_epi8(0xffffffff, xq + k));
    }
    return _mm512_reduce_add_epi32(sum);
  }
};

}  // namespace

void BcqInt8Matmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  Int8Matmul<Int8Isa>(products, num_products, 1, x, x_stride, columns, 0, n, scratch);
}

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
