// AMX, with AVX-512: the contract of bcq_matmul.h for several columns, as products of 8-bit integers.
//
// An input of 14 bits is 128 h + l, h from -64 to 63 and l from 0 to 127. The bits of a plane are unpacked to bytes of
// 0 and 1, so that a product of tiles gives the sums H and L of the inputs' parts where a bit is set, and
//
//     sum_c B_i[r, c] xq[c] = 2 (128 H + L) - sum_c xq[c]
//
// Bit j of a code word's four bytes stands for columns j, j + 8, j + 16 and j + 24 of a chunk; inputs lie in that
// order. Of 16 rows, 64 columns and a plane:
//
//     unpacking        count      multiplying, for each 8 columns of x      count     cycles
//     load             2          tileloadd (weights, inputs)               1 to 2    8
//     vpsrld, vpandd   16 + 16    tdpbssd                                   1         16
//     store            16
//
// So eight columns of x are as cheap as one: 16 cycles for 1,024 bits, where the tables need 11 for each column.

#include "kernels/products/columns_avx512.h"
#include "kernels/products/tiles_amx.h"

namespace sub3 {
namespace amx {

namespace {

constexpr size_t kTileTokens = kTileRows / 2;  // each is two rows of a tile
constexpr size_t kPassTiles = 3;               // of inputs
constexpr size_t kPassTokens = kPassTiles * kTileTokens;

static_assert(kPassTokens == kTileTokensAtOnce && 8 * kTileBytes == kUnpackedBytes);

// The inputs of one pass: row 2c of `halves` holds the h of token c, row 2c + 1 its l.
struct Inputs {
  int8_t* halves;
  size_t width;  // bytes of a row, a multiple of 64
  float s[kPassTokens];
  int32_t sum[kPassTokens];
};

void Quantize(const float* x, size_t columns, size_t token, int16_t* xq, Inputs* inputs) {
  inputs->s[token] = QuantizeExact(x, columns, inputs->width / kChunkColumns, xq);
  int8_t* high = inputs->halves + 2 * token * inputs->width;
  int8_t* low = high + inputs->width;
  __m512i sum = _mm512_setzero_si512();
  for (size_t c = 0; c < inputs->width; c += kChunkColumns) {
    const __m512i values = Load(xq + c);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(values, _mm512_set1_epi16(1)));
    const __m256i h = _mm512_cvtepi16_epi8(_mm512_srai_epi16(values, 7));
    const __m256i l = _mm512_cvtepi16_epi8(_mm512_and_si512(values, _mm512_set1_epi16(127)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + c), InUnpackedOrder(h));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + c), InUnpackedOrder(l));
  }
  inputs->sum[token] = _mm512_reduce_add_epi32(sum);
}

// Some blocks of rows, one of their planes, and which of two buffers has the sums.
struct Work {
  size_t block;
  int plane;
  size_t buffer;
};

// Rows of one segment times the tokens of one pass: B blocks at a time, A tiles of tokens.
//
// A tile can be loaded only once the stores of what it holds are in the cache, and read back likewise. So the next
// codes are unpacked before these are multiplied, and the sums of the plane before are added up after that. Windows of
// one tile, since unpacked codes, inputs and sums share 48 kB of L1: four tiles took up to 1.4 times as long.
template <size_t B, size_t A>
class Segment {
 public:
  Segment(const Product& product, const BcqSegment& segment, const Inputs& inputs, const Shares& shares, size_t j,
          uint8_t* unpacked)
      : product_(product), segment_(segment), inputs_(inputs), shares_(shares), j_(j), unpacked_(unpacked) {}

  // Multiplies the blocks [begin, end), whose number is a multiple of B.
  void Multiply(size_t begin, size_t end) {
    if (begin == end) return;
    const size_t chunks = product_.weight->chunks;
    Work work{begin, 0, 0}, before{};
    Unpack(work, 0);
    for (bool pending = false; work.block < end; pending = true) {
      Work next{work.block, work.plane + 1, work.buffer ^ 1};
      if (next.plane == segment_.planes) next = {work.block + B, 0, next.buffer};
      Unroll<B * A>([&](auto i) { ZeroSums<i>(); });
      for (size_t chunk = 0; chunk < chunks; chunk += kWindowChunks) {
        const uint8_t* codes = Window();
        window_ ^= 1;
        if (chunk + kWindowChunks < chunks) {
          Unpack(work, chunk + kWindowChunks);
        } else if (next.block < end) {
          Unpack(next, 0);
        }
        Add(codes, chunk);
      }
      Unroll<B * A>([&](auto i) { StoreSums<i>(sums_[work.buffer][i]); });
      if (pending) AddUp(before);
      before = work;
      work = next;
    }
    AddUp(before);
  }

 private:
  static constexpr size_t kWindowChunks = kTileColumns / kChunkColumns;

  uint8_t* Window() const { return unpacked_ + window_ * kUnpackedBytes / 2; }

  // A tile's columns of all blocks, as bytes of 0 and 1.
  void Unpack(const Work& work, size_t chunk) const {
    const BcqMatrix& matrix = *product_.weight;
    const size_t count = std::min(kWindowChunks, matrix.chunks - chunk);
    const __m512i ones = _mm512_set1_epi8(1);
    for (size_t b = 0; b < B; ++b) {
      const uint32_t* codes = matrix.planes[work.plane] + ((work.block + b) * matrix.chunks + chunk) * kBlockRows;
      uint8_t* to = Window() + b * kTileBytes;
      for (size_t c = 0; c < count; ++c, codes += kBlockRows, to += kTileBytes / 2) {
        const __m512i words = Load(codes);
        _mm_prefetch(codes + B * matrix.chunks * kBlockRows, _MM_HINT_T0);
        Unroll<8>([&](auto bit) {
          _mm512_store_si512(to + 64 * bit, _mm512_and_si512(_mm512_srli_epi32(words, bit), ones));
        });
      }
    }
  }

  void Add(const uint8_t* codes, size_t chunk) const {
    const int8_t* inputs = inputs_.halves + chunk * kChunkColumns;
    Unroll<B>([&](auto b) {
      _tile_loadd(6, codes + b * kTileBytes, 64);
      Unroll<A>([&](auto a) {
        _tile_loadd(7, inputs + 2 * shares_.Begin(a) * inputs_.width, inputs_.width);
        AddProducts<b * A + a, false>();
      });
    });
  }

  // Adds the sums of a plane to the totals, and writes these after the last.
  void AddUp(const Work& work) {
    const bool first = work.plane == 0, last = work.plane + 1 == segment_.planes;
    for (size_t b = 0; b < B; ++b) {
      const size_t row = (work.block + b) * kBlockRows;
      const uint16_t* scales = segment_.scales + work.plane * segment_.scale_rows + row - segment_.scale_begin;
      const __m512 alpha = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales)));
      const __mmask16 inside = Inside(row, segment_.begin, segment_.end);
      const float* bias = last ? product_.bias : nullptr;
      for (size_t a = 0; a < A; ++a) {
        const int32_t* sums = sums_[work.buffer][b * A + a];
        for (size_t t = shares_.New(a); t < shares_.size; ++t) {
          const size_t token = shares_.Begin(a) + t;
          const __m512i high = Load(sums + 2 * t * kBlockRows), low = Load(sums + (2 * t + 1) * kBlockRows);
          const __m512i set = _mm512_add_epi32(_mm512_slli_epi32(high, 8), _mm512_add_epi32(low, low));
          const __m512i sum = _mm512_sub_epi32(set, _mm512_set1_epi32(inputs_.sum[token]));
          const __m512 before = first ? _mm512_setzero_ps() : _mm512_load_ps(totals_[b][token]);
          const __m512 total = _mm512_add_ps(before, _mm512_mul_ps(alpha, _mm512_cvtepi32_ps(sum)));
          if (!last) {
            _mm512_store_ps(totals_[b][token], total);
            continue;
          }
          __m512 value = _mm512_mul_ps(total, _mm512_set1_ps(inputs_.s[token]));
          if (bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(inside, bias + row));
          _mm512_mask_storeu_ps(product_.y + (j_ + token) * product_.y_stride + row, inside, value);
        }
      }
    }
  }

  const Product& product_;
  const BcqSegment& segment_;
  const Inputs& inputs_;
  const Shares& shares_;
  const size_t j_;
  uint8_t* const unpacked_;
  size_t window_ = 0;  // which of two is multiplied next
  alignas(64) float totals_[B][kPassTokens][kBlockRows];
  alignas(64) int32_t sums_[2][B * A][kTileRows * kBlockRows];
};

template <size_t B, size_t A>
void Multiply(const Product& product, const BcqSegment& segment, const Inputs& inputs, const Shares& shares, size_t j,
              uint8_t* unpacked) {
  const size_t begin = segment.begin / kBlockRows, end = (segment.end + kBlockRows - 1) / kBlockRows;
  const size_t middle = begin + (end - begin) / B * B;
  Segment<B, A>(product, segment, inputs, shares, j, unpacked).Multiply(begin, middle);
  Segment<1, A>(product, segment, inputs, shares, j, unpacked).Multiply(middle, end);
}

}  // namespace

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  const bool whole_rows =
      std::all_of(products, products + num_products, [](const Product& p) { return p.weight->groups == 1; });
  if (n < kLeastTileTokens || !whole_rows) {
    return avx512::BcqMatmul(products, num_products, x, x_stride, columns, n, scratch);
  }
  auto* unpacked = static_cast<uint8_t*>(scratch);
  Inputs inputs;
  inputs.halves = reinterpret_cast<int8_t*>(unpacked + kUnpackedBytes);
  inputs.width = (columns + kTileColumns - 1) / kTileColumns * kTileColumns;
  const Shares passes(n, kPassTokens);
  auto* xq = reinterpret_cast<int16_t*>(inputs.halves + 2 * passes.size * inputs.width);
  for (size_t pass = 0; pass < passes.count; ++pass) {
    const size_t j = pass * passes.size, count = std::min(passes.size, n - j);
    for (size_t token = 0; token < count; ++token) {
      Quantize(x + (j + token) * x_stride, columns, token, xq, &inputs);
    }
    const Shares shares(count, kTileTokens);
    const TileRegisters registers(2 * shares.size);
    for (size_t p = 0; p < num_products; ++p) {
      for (const BcqSegment& whole : products[p].weight->segments) {
        const BcqSegment segment = products[p].Clip(whole);
        if (segment.begin >= segment.end) continue;
        switch (shares.count) {
          case 1:
            Multiply<4, 1>(products[p], segment, inputs, shares, j, unpacked);
            break;
          case 2:
            Multiply<3, 2>(products[p], segment, inputs, shares, j, unpacked);
            break;
          default:
            Multiply<2, 3>(products[p], segment, inputs, shares, j, unpacked);
        }
      }
    }
  }
}

}  // namespace amx
}  // namespace sub3
