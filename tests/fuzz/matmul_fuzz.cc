// libFuzzer target: one coded matrix whose tables an adversary has edited, and its products. sub3_bcq_matmul refuses
// it, or every instruction set of this CPU gives the scalar version's bits where all numbers are finite.

#include <cmath>

#include "kernels/products/isa.h"
#include "tests/fuzz/edits.h"

namespace {

constexpr uint64_t kRows = 48, kColumns = 100, kInputs = 40;

// What plane words, scales and inputs are copied from, each from a place that the fuzzer chooses.
struct Pool {
  uint32_t words[4096];
  uint16_t halves[1024];
  float inputs[kInputs * kColumns + 256];

  Pool() {
    std::mt19937 random(3);
    for (uint32_t& word : words) word = random();
    for (uint16_t& half : halves) half = static_cast<uint16_t>(0x2800 + random() % 0x800);
    for (float& value : inputs) value = (static_cast<float>(random() % 2048) - 1024) / 512;
  }
};

const Pool& SharedPool() {
  static const Pool pool;
  return pool;
}

const char* const kNames[] = {"m.plane.1",  "m.plane.2",  "m.plane.3",  "m.plane.4",  "m.plane.5",  "m.plane.6",
                              "m.plane.7",  "m.plane.8",  "m.scales.1", "m.scales.2", "m.scales.3", "m.scales.4",
                              "m.scales.5", "m.scales.6", "m.scales.7", "m.scales.8"};

// The tables of a matrix m with up to two segments.
struct Matrix : EditedTables {
  uint64_t rows, columns;

  explicit Matrix(Input* input) : rows(1 + input->Below(kRows)), columns(1 + input->Below(kColumns)) {
    const uint32_t first = 1 + static_cast<uint32_t>(input->Below(8)), planes[] = {first, first > 1 ? first - 1 : 2};
    const uint64_t blocks = (rows + 15) / 16, chunks = (columns + 31) / 32;
    const uint64_t group = input->Below(3) ? 0 : 32 * (1 + input->Below(3));
    const uint64_t groups = group == 0 ? 1 : (chunks * 32 + group - 1) / group;
    const uint64_t split = input->Below(2) ? rows : 1 + input->Below(rows);
    for (uint32_t i = 0; i < std::max(planes[0], split < rows ? planes[1] : 0); ++i) {
      Add<uint32_t>(kNames[i], SUB3_UINT32, {blocks, chunks, 16}, SharedPool().words + input->Take<uint16_t>() % 1024);
    }
    for (int part = 0; part < (split < rows ? 2 : 1); ++part) {
      const uint64_t begin = part == 0 ? 0 : split, end = part == 0 ? split : rows;
      Add<uint16_t>(kNames[7 + planes[part]], SUB3_FLOAT16, {planes[part], groups, blocks * 16},
                    SharedPool().halves + input->Below(64));
      segments.push_back({"m", begin, end, planes[part], 0, group});
    }
  }

  template <typename T>
  void Add(const char* name, uint32_t dtype, std::initializer_list<uint64_t> shape, const T* from) {
    uint64_t elements = 1;
    for (uint64_t size : shape) elements *= size;
    // as long as stated, so that what reads further is seen
    copies.push_back(std::make_unique<char[]>(elements * sizeof(T)));
    char* const data = copies.back().get();
    for (uint64_t done = 0; done < elements; done += std::min<uint64_t>(elements - done, 512)) {
      std::memcpy(data + done * sizeof(T), from, std::min<uint64_t>(elements - done, 512) * sizeof(T));
    }
    sub3_tensor tensor{name, dtype, static_cast<uint32_t>(shape.size()), {}, data, elements * sizeof(T)};
    std::copy(shape.begin(), shape.end(), tensor.shape);
    tensors.push_back(tensor);
  }

  // Tells whether all scales are finite.
  bool IsFinite() const {
    for (const sub3_tensor& tensor : tensors) {
      if (tensor.dtype != SUB3_FLOAT16 || tensor.data == nullptr) continue;
      for (uint64_t i = 0; i + 2 <= tensor.bytes; i += 2) {
        uint16_t half;
        std::memcpy(&half, static_cast<const char*>(tensor.data) + i, 2);
        if ((half & 0x7c00) == 0x7c00) return false;
      }
    }
    return true;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<const sub3::Isa*> isas = sub3::UsableIsas();
  Input input(data, size);
  Matrix matrix(&input);
  const uint32_t int8 = static_cast<uint32_t>(input.Below(2));
  const uint64_t n = 1 + input.Below(kInputs);
  const char* const isa = isas[input.Below(isas.size())]->name;
  std::vector<float> x(matrix.columns * n), found(matrix.rows * n), expected(matrix.rows * n);
  std::memcpy(x.data(), SharedPool().inputs + input.Below(250), x.size() * sizeof(float));
  for (uint64_t some = input.Below(4); some > 0; --some) x[input.Take<uint16_t>() % x.size()] = input.Take<float>();
  while (!input.empty() && matrix.segments.size() < 64) {
    if (input.Below(2)) {
      EditTensor(&input, &matrix);
    } else {
      EditSegment(&input, &matrix);
    }
  }
  const auto multiply = [&](const char* by, std::vector<float>* y) {
    return sub3_bcq_matmul(by, int8, matrix.tensors.data(), matrix.tensors.size(), matrix.segments.data(),
                           matrix.segments.size(), matrix.rows, matrix.columns, x.data(), n, y->data());
  };
  const int32_t status = multiply(isa, &found);
  if (status == SUB3_INTERNAL) std::abort();
  if (status != SUB3_OK) return 0;
  CHECK(multiply("scalar", &expected) == SUB3_OK);
  const bool is_finite = matrix.IsFinite() && std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); });
  if (is_finite && std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) != 0) std::abort();
  return 0;
}
