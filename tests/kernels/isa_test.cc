// Every instruction set that this CPU has gives the same bits: the products against their contract written out in plain
// integers, the float operations against the scalar build (and against libm within rounding), over random shapes.
// Then "golden" lines: hashes of what the instruction set in use (SUB3_FORCE_ISA) makes of seeded tiny networks.
// run_native.sh compares them between instruction sets, `make test-arm` between CPUs.
//
//     isa_test          the tests, then the golden lines; exits non-zero at the first failure
//     isa_test names    the names of the usable instruction sets

#include "kernels/products/isa.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/network/shortlist.h"
#include "kernels/network/workspace.h"
#include "tests/kernels/tiny_model.h"

namespace {

using sub3::BcqMatrix;
using sub3::FloatOps;
using sub3::Isa;
using sub3::Product;

// Integers only, so that the same seed means the same problem with every standard library.
struct Random {
  std::mt19937 engine{11};

  size_t From(size_t least, size_t most) { return least + engine() % (most - least + 1); }
  // From -1 to 1, bell-shaped.
  float Value() { return static_cast<float>(static_cast<int>(engine() % 1024 + engine() % 1024) - 1023) / 1024; }
  std::vector<float> Values(size_t n, float scale = 1) {
    std::vector<float> values(n);
    for (float& value : values) value = scale * Value();
    return values;
  }
};

uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Equal bits; the first that differs is printed.
bool Same(const std::vector<float>& found, const std::vector<float>& expected, const char* what, const char* isa) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (Bits(found[i]) != Bits(expected[i])) {
      std::printf("%s on %s: entry %zu is %a, expected %a\n", what, isa, i, found[i], expected[i]);
      return false;
    }
  }
  return found.size() == expected.size();
}

double Half(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

void TestHalfToFloat() {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half >> 10 & 31) == 31) continue;  // infinities and NaN are no scales
    const float expected = static_cast<float>(Half(static_cast<uint16_t>(half)));
    const float found = sub3::HalfToFloat(static_cast<uint16_t>(half));
    CHECK(Bits(found) == Bits(expected));
  }
}

// A random coded matrix of up to three segments, and the memory behind it.
struct CodedMatrix {
  std::vector<uint32_t> planes[sub3::kMaxPlanes];
  std::vector<std::vector<uint16_t>> scales;
  BcqMatrix matrix;

  CodedMatrix(Random* random, size_t rows, size_t columns, size_t group_size, int max_planes) {
    matrix.rows = rows;
    matrix.columns = columns;
    matrix.chunks = (columns + 31) / 32;
    matrix.chunks_per_group = group_size == 0 ? matrix.chunks : std::min(group_size / 32, matrix.chunks);
    matrix.groups = (matrix.chunks + matrix.chunks_per_group - 1) / matrix.chunks_per_group;
    for (int i = 0; i < sub3::kMaxPlanes; ++i) {
      planes[i].resize((rows + 15) / 16 * matrix.chunks * 16);
      for (uint32_t& word : planes[i]) word = random->engine();
      matrix.planes[i] = planes[i].data();
    }
    scales.reserve(3);
    for (size_t begin = 0; begin < rows;) {
      const size_t end = scales.size() == 2 ? rows : random->From(begin + 1, rows);
      const int planes_here = static_cast<int>(random->From(1, static_cast<size_t>(max_planes)));
      const size_t first = begin / 16 * 16, covered = (end + 15) / 16 * 16 - first;
      std::vector<uint16_t> values(planes_here * matrix.groups * covered);
      for (uint16_t& value : values) value = static_cast<uint16_t>(random->engine() & 0xbfff);  // subnormals to 2
      scales.push_back(std::move(values));
      matrix.segments.push_back({begin, end, planes_here, scales.back().data(), first, covered});
      begin = end;
    }
  }
};

// +1 or -1.
int Sign(const BcqMatrix& matrix, int plane, size_t row, size_t column) {
  const size_t word = (row / 16 * matrix.chunks + column / 32) * 16 + row % 16;
  return matrix.planes[plane][word] >> (column % 32) & 1 ? 1 : -1;
}

// bcq_matmul.h written out: one column of one product.
void Contract(const Product& product, const float* x, float* y) {
  const BcqMatrix& matrix = *product.weight;
  float maximum = 0;
  for (size_t c = 0; c < matrix.columns; ++c) maximum = std::max(maximum, std::fabs(x[c]));
  const bool zero = maximum < 1e-30f;
  float steps = 8191;
  for (size_t begin = 0; begin < matrix.columns && !zero; begin += 512) {
    int64_t sum = 0;
    for (size_t c = begin; c < std::min(begin + 512, matrix.columns); ++c) {
      sum += std::abs(std::lrint(x[c] * (8191.0f / maximum)));
    }
    if (sum > 65000) steps = std::min(steps, 8191.0f * (65000.0f / static_cast<float>(sum)));
  }
  const float inverse = zero ? 0 : steps / maximum, s = zero ? 0 : maximum / steps;
  std::vector<int> xq;
  xq.reserve(matrix.columns);
  for (size_t c = 0; c < matrix.columns; ++c) xq.push_back(static_cast<int>(std::lrint(x[c] * inverse)));
  for (const sub3::BcqSegment& segment : matrix.segments) {
    for (size_t row = segment.begin; row < segment.end; ++row) {
      float total = 0;
      for (size_t group = 0; group < matrix.groups; ++group) {
        const size_t first = group * matrix.chunks_per_group * 32;
        const size_t last = std::min(first + matrix.chunks_per_group * 32, matrix.columns);
        for (int plane = 0; plane < segment.planes; ++plane) {
          int64_t sum = 0;
          for (size_t c = first; c < last; ++c) sum += int64_t{Sign(matrix, plane, row, c)} * xq[c];
          const size_t scale = (plane * matrix.groups + group) * segment.scale_rows + row - segment.scale_begin;
          const float term = static_cast<float>(Half(segment.scales[scale])) * static_cast<float>(sum);
          total = total + term;
        }
      }
      const float value = total * s;
      y[row] = product.bias ? value + product.bias[row] : value;
    }
  }
}

// The int8 GEMM, written out likewise.
void Int8Contract(const Product& product, const float* x, float* y) {
  const BcqMatrix& matrix = *product.weight;
  float maximum = 0;
  for (size_t c = 0; c < matrix.columns; ++c) maximum = std::max(maximum, std::fabs(x[c]));
  const bool zero = maximum < 1e-30f;
  const float inverse = zero ? 0 : 127.0f / maximum, s = zero ? 0 : maximum / 127.0f;
  std::vector<int> xq;
  xq.reserve(matrix.columns);
  for (size_t c = 0; c < matrix.columns; ++c) xq.push_back(static_cast<int>(std::lrint(x[c] * inverse)));
  for (const sub3::BcqSegment& segment : matrix.segments) {
    for (size_t row = segment.begin; row < segment.end; ++row) {
      float alpha[sub3::kMaxInt8Planes], total = 0;
      int a[sub3::kMaxInt8Planes], largest = 0;
      for (int plane = 0; plane < segment.planes; ++plane) {
        alpha[plane] = static_cast<float>(Half(segment.scales[plane * segment.scale_rows + row - segment.scale_begin]));
        total = total + std::fabs(alpha[plane]);
      }
      for (int plane = 0; plane < segment.planes; ++plane) {
        a[plane] = total > 0 ? static_cast<int>(std::lrint(alpha[plane] * (124.0f / total))) : 0;
        largest += std::abs(a[plane]);
      }
      CHECK(largest <= 127);
      int64_t sum = 0;
      for (int plane = 0; plane < segment.planes; ++plane) {
        for (size_t c = 0; c < matrix.columns; ++c) sum += int64_t{a[plane]} * Sign(matrix, plane, row, c) * xq[c];
      }
      const float value = static_cast<float>(sum) * (total / 124.0f) * s;
      y[row] = product.bias ? value + product.bias[row] : value;
    }
  }
}

// Up to four products of the same columns, of look-up tables or int8: odd shapes, all numbers of planes, groups,
// batches; nothing is written beyond the rows.
void TestProducts(const std::vector<const Isa*>& isas, bool int8) {
  Random random;
  for (int round = 0; round < 200; ++round) {
    const size_t wide[] = {256, 512, 1056, 2048, 2080};
    const size_t columns = round % 10 == 0 ? wide[random.From(0, 4)] : random.From(1, 200);
    const size_t group_size = int8 ? 0 : random.From(0, 1) * 32 * random.From(1, 4);
    const size_t n = round % 100 == 7 ? random.From(125, 132)
                     : round % 3 == 0 ? random.From(1, 70)
                                      : random.From(1, 13),
                 x_stride = columns + random.From(0, 3);
    std::vector<float> x = random.Values(n * x_stride, std::pow(10.0f, static_cast<float>(random.From(0, 30)) - 15));
    if (random.From(0, 3) == 0) std::fill(x.begin(), x.begin() + static_cast<ptrdiff_t>(columns), 0.0f);
    std::vector<CodedMatrix> matrices;
    matrices.reserve(3);
    for (size_t p = 0, count = random.From(1, 3); p < count; ++p) {
      matrices.emplace_back(&random, random.From(1, 90), columns, group_size,
                            int8 ? sub3::kMaxInt8Planes : sub3::kMaxPlanes);
    }
    sub3::Workspace workspace;
    void* scratch = workspace.Allocate<char>(int8 ? sub3::BcqInt8MatmulScratchBytes(columns, n)
                                                  : sub3::BcqMatmulScratchBytes(columns, n));
    for (CodedMatrix& coded : matrices) {
      const size_t y_stride = coded.matrix.rows + random.From(0, 20);
      const std::vector<float> bias = random.Values(coded.matrix.rows), untouched = random.Values(n * y_stride);
      const float* bias_or_null = random.From(0, 1) ? bias.data() : nullptr;
      std::vector<float> expected = untouched;
      for (size_t j = 0; j < n; ++j) {
        (int8 ? Int8Contract : Contract)({&coded.matrix, bias_or_null, nullptr, 0, 0, 0}, x.data() + j * x_stride,
                                         expected.data() + j * y_stride);
      }
      for (const Isa* isa : isas) {
        // The other products come first, so that it is one of several.
        std::vector<float> y = untouched, other(n * 90);
        std::vector<Product> products;
        for (CodedMatrix& before : matrices) {
          if (&before == &coded) break;
          products.push_back({&before.matrix, nullptr, other.data(), 90, 0, before.matrix.rows});
        }
        // At times cut in two.
        const size_t rows = coded.matrix.rows, cut = 16 * random.From(0, rows / 16);
        products.push_back({&coded.matrix, bias_or_null, y.data(), y_stride, 0, random.From(0, 1) ? cut : rows});
        products.push_back({&coded.matrix, bias_or_null, y.data(), y_stride, products.back().end, rows});
        const auto multiply = int8 ? isa->bcq_int8_matmul : isa->bcq_matmul;
        multiply(products.data(), products.size(), x.data(), x_stride, columns, n, scratch);
        CHECK(Same(y, expected, int8 ? "int8 GEMM" : "product", isa->name));
      }
    }
  }
}

// Numbers beyond float32 have no integer: the scalar products read NaN as 0, and an infinite scale is its own row's
// affair.
void TestNotFinite() {
  Random random;
  for (const bool int8 : {false, true}) {
    const size_t columns = 70;
    CodedMatrix coded(&random, 40, columns, 0, 4);
    std::vector<float> x = random.Values(columns), found(coded.matrix.rows), expected(coded.matrix.rows);
    sub3::Workspace workspace;
    void* scratch = workspace.Allocate<char>(int8 ? sub3::BcqInt8MatmulScratchBytes(columns, 1)
                                                  : sub3::BcqMatmulScratchBytes(columns, 1));
    const auto multiply = [&](std::vector<float>* y) {
      const Product product{&coded.matrix, nullptr, y->data(), y->size(), 0, y->size()};
      (int8 ? sub3::scalar::BcqInt8Matmul : sub3::scalar::BcqMatmul)(&product, 1, x.data(), columns, columns, 1,
                                                                     scratch);
    };
    x[3] = 0;
    multiply(&expected);
    x[3] = std::numeric_limits<float>::quiet_NaN();
    coded.scales[0][0] = 0x7c00;
    multiply(&found);
    found[0] = expected[0];
    CHECK(Same(found, expected, int8 ? "int8 GEMM of NaN" : "product of NaN", "scalar"));
  }
}

// The product of gathered rows is that of the whole matrix at these rows.
void TestGatheredRows(const std::vector<const Isa*>& isas) {
  Random random;
  for (int round = 0; round < 100; ++round) {
    const size_t columns = random.From(1, 300), rows = random.From(1, 200),
                 n = random.From(1, 4) * (round % 5 == 0 ? 6 : 1);
    CodedMatrix coded(&random, rows, columns, random.From(0, 1) * 32 * random.From(1, 4), sub3::kMaxPlanes);
    std::vector<int32_t> chosen;
    const size_t one_of = random.From(1, 20);
    for (size_t row = 0; row < rows; ++row) {
      if (random.From(1, one_of) == 1 || row + 1 == rows) chosen.push_back(static_cast<int32_t>(row));
    }
    sub3::Workspace workspace;
    const BcqMatrix gathered = sub3::GatherRows(coded.matrix, chosen, &workspace);
    CHECK(gathered.rows == chosen.size() && sub3::GatherEntries(nullptr, chosen, &workspace) == nullptr);
    const std::vector<float> x = random.Values(n * columns), bias = random.Values(rows);
    const float* gathered_bias = sub3::GatherEntries(bias.data(), chosen, &workspace);
    void* scratch = workspace.Allocate<char>(sub3::BcqMatmulScratchBytes(columns, n));
    for (const Isa* isa : isas) {
      std::vector<float> whole(n * rows), expected, found(n * chosen.size());
      const Product all{&coded.matrix, bias.data(), whole.data(), rows, 0, rows};
      isa->bcq_matmul(&all, 1, x.data(), columns, columns, n, scratch);
      for (size_t j = 0; j < n; ++j) {
        for (int32_t row : chosen) expected.push_back(whole[j * rows + static_cast<size_t>(row)]);
      }
      const Product some{&gathered, gathered_bias, found.data(), chosen.size(), 0, chosen.size()};
      isa->bcq_matmul(&some, 1, x.data(), columns, columns, n, scratch);
      CHECK(Same(found, expected, "gathered rows", isa->name));
    }
  }
}

// Rows as the embedding look-up reads them.
void TestDequantizeRow(const std::vector<const Isa*>& isas) {
  Random random;
  for (int round = 0; round < 200; ++round) {
    const size_t columns = random.From(1, 300), group_size = random.From(0, 1) * 32 * random.From(1, 4);
    CodedMatrix coded(&random, random.From(1, 60), columns, group_size, sub3::kMaxPlanes);
    const BcqMatrix& matrix = coded.matrix;
    for (const sub3::BcqSegment& segment : matrix.segments) {
      const size_t row = random.From(segment.begin, segment.end - 1);
      std::vector<float> expected(columns, 0);
      for (size_t c = 0; c < columns; ++c) {
        for (int plane = 0; plane < segment.planes; ++plane) {
          const size_t group = c / 32 / matrix.chunks_per_group;
          const size_t scale = (plane * matrix.groups + group) * segment.scale_rows + row - segment.scale_begin;
          expected[c] +=
              static_cast<float>(Half(segment.scales[scale])) * static_cast<float>(Sign(matrix, plane, row, c));
        }
      }
      for (const Isa* isa : isas) {
        std::vector<float> found(columns);
        isa->dequantize_row(matrix, row, found.data());
        CHECK(Same(found, expected, "row", isa->name));
      }
    }
  }
}

// One entry of a softmax-weighted sum in double.
void ReferenceAttend(const std::vector<float>& q, const float* const* keys, const float* const* values, size_t length,
                     size_t heads, size_t head_dim, float scale, std::vector<double>* out) {
  out->assign(heads * head_dim, 0);
  for (size_t h = 0; h < heads; ++h) {
    std::vector<double> weights(length, 0);
    double total = 0;
    for (size_t t = 0; t < length; ++t) {
      for (size_t i = h * head_dim; i < (h + 1) * head_dim; ++i) weights[t] += double{q[i]} * keys[t][i] * scale;
      total += weights[t] = std::exp(weights[t]);
    }
    for (size_t t = 0; t < length; ++t) {
      for (size_t i = h * head_dim; i < (h + 1) * head_dim; ++i) (*out)[i] += weights[t] / total * values[t][i];
    }
  }
}

// Compares `run`, which turns the operations of one instruction set into floats, between all of them; returns them.
template <typename Run>
std::vector<float> SameEverywhere(const std::vector<const Isa*>& isas, const char* what, Run run) {
  const std::vector<float> expected = run(*sub3::IsaByName("scalar").float_ops);
  for (const Isa* isa : isas) CHECK(Same(run(*isa->float_ops), expected, what, isa->name));
  return expected;
}

void TestFloatOps(const std::vector<const Isa*>& isas) {
  Random random;
  const auto near = [](float found, double expected, double bound) { return std::fabs(found - expected) <= bound; };
  for (size_t n = 1; n <= 130; ++n) {
    const std::vector<float> x = random.Values(n, 8), y = random.Values(n), gain = random.Values(n);
    SameEverywhere(isas, "add", [&](const FloatOps& ops) {
      std::vector<float> out = x;
      ops.add(out.data(), y.data(), n);
      return out;
    });
    SameEverywhere(isas, "layer norm", [&](const FloatOps& ops) {
      std::vector<float> out(n);
      ops.layer_norm(x.data(), gain.data(), y.data(), 1e-5f, n, out.data());
      return out;
    });
    for (sub3::Activation activation : {sub3::Activation::kRelu, sub3::Activation::kSwish, sub3::Activation::kGelu}) {
      const std::vector<float> out = SameEverywhere(isas, "activation", [&](const FloatOps& ops) {
        std::vector<float> in_place = x;
        ops.activate(activation, in_place.data(), n);
        return in_place;
      });
      for (size_t i = 0; i < n; ++i) {
        const double v = x[i];
        const double expected = activation == sub3::Activation::kRelu    ? std::max(v, 0.0)
                                : activation == sub3::Activation::kSwish ? v / (1 + std::exp(-v))
                                                                         : v * (1 + std::erf(v / std::sqrt(2.0))) / 2;
        CHECK(near(out[i], expected, 2e-6 * std::max(1.0, std::fabs(v))));
      }
    }
    const std::vector<float> ssru = SameEverywhere(isas, "SSRU", [&](const FloatOps& ops) {
      std::vector<float> both(2 * n);
      ops.ssru(x.data(), y.data(), gain.data(), n, both.data(), both.data() + n);
      return both;
    });
    for (size_t i = 0; i < n; ++i) {
      const double kept = 1 / (1 + std::exp(-double{x[i]})), expected = kept * gain[i] + (1 - kept) * y[i];
      CHECK(near(ssru[i], expected, 2e-6 * std::max(1.0, std::fabs(expected))));
      CHECK(ssru[n + i] == std::max(ssru[i], 0.0f));
    }
    const std::vector<float> sum = SameEverywhere(isas, "log-sum-exp", [&](const FloatOps& ops) {
      return std::vector{ops.log_sum_exp(x.data(), n, *std::max_element(x.begin(), x.end()))};
    });
    double total = 0;
    for (float v : x) total += std::exp(double{v});
    CHECK(near(sum[0], std::log(total), 2e-6 * std::max(1.0, std::fabs(std::log(total)))));
    for (size_t k = 1; k <= std::min<size_t>(n, 9); k += 4) {
      std::vector<float> ties = x;
      for (float& v : ties) v = std::round(v);
      const std::vector<float> largest = SameEverywhere(isas, "top k", [&](const FloatOps& ops) {
        std::vector<int32_t> indices(k);
        std::vector<float> values(k);
        ops.top_k(ties.data(), n, k, indices.data(), values.data());
        for (int32_t index : indices) values.push_back(static_cast<float>(index));
        return values;
      });
      std::vector<size_t> order(n);
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ties[a] > ties[b]; });
      for (size_t i = 0; i < k; ++i) {
        CHECK(largest[i] == ties[order[i]] && largest[k + i] == static_cast<float>(order[i]));
      }
    }
  }
  for (int round = 0; round < 100; ++round) {
    const size_t heads = random.From(1, 4), head_dim = random.From(1, 70), length = random.From(1, 50);
    const size_t d = heads * head_dim;
    const std::vector<float> q = random.Values(d), k = random.Values(length * d), v = random.Values(length * d);
    std::vector<const float*> keys(length), values(length);
    for (size_t t = 0; t < length; ++t) keys[t] = k.data() + t * d, values[t] = v.data() + (length - 1 - t) * d;
    const std::vector<float> out = SameEverywhere(isas, "attention", [&](const FloatOps& ops) {
      std::vector<float> scratch(sub3::AttendScratch(length)), result(d);
      ops.attend(q.data(), keys.data(), values.data(), length, {0, heads, head_dim}, 0.7f, scratch.data(),
                 result.data());
      return result;
    });
    std::vector<double> expected;
    ReferenceAttend(q, keys.data(), values.data(), length, heads, head_dim, 0.7f, &expected);
    for (size_t i = 0; i < d; ++i) CHECK(near(out[i], expected[i], 1e-5));

    // All positions at once.
    const std::vector<float> queries = random.Values(length * d);
    const std::vector<float> all = SameEverywhere(isas, "attention of a sentence", [&](const FloatOps& ops) {
      std::vector<float> scratch(sub3::AttendAllScratch(length, head_dim)), result(length * d);
      ops.attend_all(queries.data(), k.data(), v.data(), length, heads * head_dim, {0, heads, head_dim}, 0.7f,
                     scratch.data(), result.data());
      return result;
    });
    for (size_t t = 0; t < length; ++t) values[t] = v.data() + t * d;
    for (size_t position = 0; position < length; ++position) {
      const std::vector<float> query(queries.begin() + static_cast<ptrdiff_t>(position * d),
                                     queries.begin() + static_cast<ptrdiff_t>((position + 1) * d));
      ReferenceAttend(query, keys.data(), values.data(), length, heads, head_dim, 0.7f, &expected);
      for (size_t i = 0; i < d; ++i) CHECK(near(all[position * d + i], expected[i], 1e-5));
    }
  }
}

// FNV-1a.
struct Hash {
  uint64_t state = 0xcbf29ce484222325u;

  template <typename T>
  void Add(const std::vector<T>& values) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (size_t i = 0; i < values.size() * sizeof(T); ++i) state = (state ^ bytes[i]) * 0x100000001b3u;
  }
};

void Golden(const char* what, const char* which, const Hash& hash) {
  std::printf("golden %s, %s: %016llx\n", what, which, static_cast<unsigned long long>(hash.state));
}

// Hashes of a model's logits, and of what it finds greedily and by a beam of 4.
std::vector<Hash> Results(const sub3_model* model) {
  std::vector<int32_t> source, target{kPad};
  for (int32_t t = 1; t < 31; ++t) {
    source.push_back(1 + t * 7 % 60);
    target.push_back(1 + t * 11 % 60);
  }
  source.push_back(kEos);
  std::vector<float> logits(target.size() * kVocab);
  CHECK(sub3_logits(model, source.data(), source.size(), target.data(), target.size(), logits.data(), logits.size()) ==
        SUB3_OK);
  std::vector<Hash> hashes(1);
  hashes.back().Add(logits);
  for (const auto& [beam, shortlist] : {std::pair{1u, 0u}, {4u, 0u}, {1u, 1u}, {4u, 1u}}) {
    Call call(beam, beam);
    call.request.min_length = 4;
    call.request.shortlist = shortlist;
    CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_OK);
    Hash& found = hashes.emplace_back();
    found.Add(call.lengths);
    found.Add(call.scores);
    for (size_t slot = 0; slot < call.lengths.size(); ++slot) {
      const auto first = call.out_tokens.begin() + static_cast<ptrdiff_t>(slot * 20);
      found.Add(std::vector<int32_t>(first, first + std::max(call.lengths[slot], 0)));
    }
  }
  return hashes;
}

// The same with any number of threads.
void PrintGolden(const char* which, uint32_t activation, bool pre_norm, bool ssru = false) {
  Tables tables(activation, pre_norm, ssru);
  tables.AddShortlist();
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  const std::vector<Hash> alone = Results(model);
  const char* names[] = {"logits", "greedy", "beam 4", "greedy, shortlist", "beam 4, shortlist"};
  for (size_t i = 0; i < alone.size(); ++i) Golden(names[i], which, alone[i]);
  for (uint32_t threads : {2u, 3u}) {
    CHECK(sub3_set_threads(threads) == SUB3_OK);
    const std::vector<Hash> together = Results(model);
    for (size_t i = 0; i < alone.size(); ++i) CHECK(together[i].state == alone[i].state);
  }
  CHECK(sub3_set_threads(1) == SUB3_OK);
  sub3_model_destroy(model);
}

// Every function that a library could give another last bit, over its range.
void PrintGoldenFunctions() {
  const FloatOps& ops = *sub3::IsaByName(sub3_isa()).float_ops;
  std::vector<float> range;
  for (int32_t i = -100000; i <= 100000; ++i) range.push_back(static_cast<float>(i) / 1000);
  for (sub3::Activation activation : {sub3::Activation::kSwish, sub3::Activation::kGelu}) {
    std::vector<float> values = range;
    ops.activate(activation, values.data(), values.size());
    Hash hash;
    hash.Add(values);
    Golden("function", activation == sub3::Activation::kGelu ? "gelu" : "swish", hash);
  }
  std::vector<float> states(2 * range.size());
  ops.ssru(range.data(), range.data() + 1, range.data(), range.size() - 1, states.data(), states.data() + range.size());
  Hash recurrent;
  recurrent.Add(states);
  Golden("function", "ssru", recurrent);
  std::vector<float> sums;
  for (float x : range) {
    const float two[] = {x, 0.5f};
    sums.push_back(ops.log_sum_exp(two, 2, std::max(x, 0.5f)));
  }
  Hash hash;
  hash.Add(sums);
  Golden("function", "log-sum-exp", hash);
}

// The only numbers that come from the library: sines and powers in double, rounded to float.
void PrintGoldenPositions() {
  const sub3::Positions positions(4096, 64, sub3::PositionKind::kMarian);
  std::vector<float> row(64);
  Hash hash;
  for (size_t position = 0; position < 4096; ++position) {
    std::fill(row.begin(), row.end(), 0.0f);
    positions.Add(position, row.data());
    hash.Add(row);
    for (size_t i = 0; i < 32; ++i) {
      const double angle = static_cast<double>(position) * std::pow(10000.0, -2.0 * static_cast<double>(i) / 64);
      if (std::abs(row[i] - std::sin(angle)) > 1e-7 || std::abs(row[32 + i] - std::cos(angle)) > 1e-7) {
        std::printf("position %zu is wrong\n", position);
        std::exit(1);
      }
    }
  }
  Golden("positions", "4096", hash);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<const Isa*> isas = sub3::UsableIsas();
  if (argc > 1 && std::strcmp(argv[1], "names") == 0) {
    for (const Isa* isa : isas) std::printf("%s\n", isa->name);
    return 0;
  }
  TestHalfToFloat();
  TestProducts(isas, false);
  TestProducts(isas, true);
  TestNotFinite();
  TestGatheredRows(isas);
  TestDequantizeRow(isas);
  TestFloatOps(isas);
  std::printf("isa test on %s: %d checks hold\n", sub3_isa(), checks.load());
  PrintGolden("swish, post-norm", SUB3_SWISH, false);
  PrintGolden("relu, pre-norm", SUB3_RELU, true);
  PrintGolden("gelu, post-norm", SUB3_GELU, false);
  PrintGolden("ssru", SUB3_RELU, false, /*ssru=*/true);
  PrintGoldenFunctions();
  PrintGoldenPositions();
  return 0;
}
