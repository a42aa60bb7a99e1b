// What the native tests share: a tiny random model as the C ABI takes it, a call to translate with it, and CHECK.

#ifndef SUB3_TESTS_KERNELS_TINY_MODEL_H_
#define SUB3_TESTS_KERNELS_TINY_MODEL_H_

#include <stdint.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/network/model.h"  // which has the C ABI, a text without an include guard

inline std::atomic<int> checks{0};

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    ++checks;                                                                            \
    if (!(condition)) {                                                                  \
      std::printf("%s:%d: %s\n%s\n", __FILE__, __LINE__, #condition, sub3_last_error()); \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)

#ifdef SUB3_SMALL_MODEL  // for fuzzing: what every kind of row, column and layer is once is enough
constexpr uint32_t kDim = 40, kFfn = 24, kVocab = 20, kLayers = 1, kPositions = 12;
constexpr uint32_t kAttentionPlanes = 1, kInnerPlanes = 2, kOuterPlanes = 5;
#else
constexpr uint32_t kDim = 80, kFfn = 144, kVocab = 150, kLayers = 2, kPositions = 40;
constexpr uint32_t kAttentionPlanes = 2, kInnerPlanes = 4, kOuterPlanes = 8;
#endif
constexpr int32_t kEos = 0, kPad = static_cast<int32_t>(kVocab) - 1;

// A model's tables with the memory behind them.
struct Tables {
  std::map<std::string, std::vector<char>> data;
  std::vector<std::string> matrices;
  std::vector<sub3_tensor> tensors;
  std::vector<sub3_segment> segments;
  sub3_config config{};
  int32_t suppressed[1] = {kPad};
  std::mt19937 random;

  template <typename T>
  void Add(const std::string& name, uint32_t dtype, std::vector<uint64_t> shape, const std::vector<T>& values) {
    std::vector<char>& bytes = data[name];
    bytes.resize(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    sub3_tensor tensor{
        data.find(name)->first.c_str(), dtype, static_cast<uint32_t>(shape.size()), {}, bytes.data(), bytes.size()};
    std::copy(shape.begin(), shape.end(), tensor.shape);
    tensors.push_back(tensor);
  }

  void AddFloats(const std::string& name, uint64_t n, float mean) {
    std::vector<float> values(n);  // no std::normal_distribution: its bits are the library's affair
    for (float& value : values) value = mean + (static_cast<float>(random() % 2048) - 1024) / 8192;
    Add(name, SUB3_FLOAT32, {n}, values);
  }

  void AddMatrix(const std::string& name, uint64_t rows, uint64_t columns, uint32_t planes) {
    const uint64_t blocks = (rows + 15) / 16, chunks = (columns + 31) / 32;
    for (uint32_t i = 1; i <= planes; ++i) {
      std::vector<uint32_t> words(blocks * chunks * 16);
      for (uint32_t& word : words) word = random();
      Add(name + ".plane." + std::to_string(i), SUB3_UINT32, {blocks, chunks, 16}, words);
    }
    std::vector<uint16_t> scales(planes * blocks * 16);
    for (uint16_t& scale : scales) scale = static_cast<uint16_t>(0x2800 + random() % 0x800);  // 0.03 to 0.12
    Add(name + ".scales." + std::to_string(planes), SUB3_FLOAT16, {planes, 1, blocks * 16}, scales);
    segments.push_back({(data.find(name + ".plane.1")->first).c_str(), 0, rows, planes, 0, 0});
    matrices.push_back(name);
  }

  void AddLinear(const std::string& name, uint64_t rows, uint64_t columns, uint32_t planes) {
    AddMatrix(name, rows, columns, planes);
    AddFloats(name + ".bias", rows, 0);
  }

  void AddBlock(const std::string& name) {
    AddFloats(name + ".norm.gain", kDim, 1);
    AddFloats(name + ".norm.bias", kDim, 0);
  }

  explicit Tables(uint32_t activation = SUB3_SWISH, bool pre_norm = false, bool ssru = false, uint32_t seed = 7)
      : random(seed) {
    config = {kDim, kVocab, kVocab, kLayers,    4, kFfn, kLayers, 4,    kFfn, activation, pre_norm,
              ssru, 1e-5f,  1,      kPositions, 0, 1,    1,       kEos, kPad, suppressed, 1};
    AddMatrix("embedding", kVocab, kDim, 3);
    for (const char* side : {"encoder", "decoder"}) {
      for (uint32_t l = 0; l < kLayers; ++l) {
        const std::string layer = std::string(side) + "." + std::to_string(l);
        for (const char* kind : {".self_attention", ".encoder_attention"}) {
          if (side[0] == 'e' && kind[1] == 'e') continue;
          if (ssru && side[0] == 'd' && kind[1] == 's') {
            AddLinear(layer + ".ssru.forget", kDim, kDim, 2);
            AddMatrix(layer + ".ssru.candidate", kDim, kDim, 3);
            AddBlock(layer + ".ssru");
            continue;
          }
          for (const char* part : {".query", ".key", ".value", ".output"})
            AddLinear(layer + kind + part, kDim, kDim, kAttentionPlanes);
          AddBlock(layer + kind);
        }
        AddLinear(layer + ".ffn.inner", kFfn, kDim, kInnerPlanes);
        AddLinear(layer + ".ffn.outer", kDim, kFfn, kOuterPlanes);
        AddBlock(layer + ".ffn");
      }
    }
    if (pre_norm) {
      AddBlock("encoder");
      AddBlock("decoder");
    }
    for (size_t i = 0; i < segments.size(); ++i) segments[i].matrix = matrices[i].c_str();
  }

  // A lexicon: two tokens for all sentences, and up to six for each source token.
  void AddShortlist() {
    std::vector<uint32_t> offsets{0}, rows;
    for (uint32_t source = 0; source < kVocab; ++source) {
      for (uint32_t i = 0; i < source % 7; ++i) rows.push_back((source * 31 + i * 17) % kVocab);
      offsets.push_back(static_cast<uint32_t>(rows.size()));
    }
    Add("shortlist.always", SUB3_UINT32, {2}, std::vector<uint32_t>{3, kPad});
    Add("shortlist.offsets", SUB3_UINT32, {offsets.size()}, offsets);
    Add("shortlist.rows", SUB3_UINT32, {rows.size()}, rows);
  }

  sub3_tensor& operator[](const std::string& name) {
    for (sub3_tensor& tensor : tensors) {
      if (name == tensor.name) return tensor;
    }
    std::abort();
  }

  int32_t Create(sub3_model** model) {
    return sub3_model_create(&config, tensors.data(), tensors.size(), segments.data(), segments.size(), model);
  }
};

// A result of `slots` hypotheses of up to 20 tokens.
inline sub3_result ResultOf(int32_t* tokens, int32_t* lengths, float* scores, size_t slots) {
  sub3_result result{};
  result.tokens = tokens, result.num_tokens = slots * 20, result.max_length = 20;
  result.lengths = lengths, result.scores = scores, result.num_slots = slots;
  return result;
}

struct Call {
  std::vector<int32_t> tokens{5, 9, 31, kEos, 7, kEos, 11, 12, 13, 14, 15, 16, kEos};
  std::vector<uint64_t> offsets{0, 4, 6, 13};
  std::vector<uint32_t> max_lengths{12, 5, 20};
  std::vector<int32_t> out_tokens, lengths;
  std::vector<float> scores;
  int32_t cancel = 0;
  sub3_request request{};
  sub3_result result{};

  explicit Call(uint32_t beam_size = 1, uint32_t num_hypotheses = 1) {
    const size_t slots = size_t{3} * num_hypotheses;
    out_tokens.resize(slots * 20);
    lengths.resize(slots);
    scores.resize(slots);
    request.tokens = tokens.data(), request.num_tokens = tokens.size();
    request.offsets = offsets.data(), request.num_sources = 3;
    request.max_lengths = max_lengths.data();
    request.beam_size = beam_size, request.num_hypotheses = num_hypotheses;
    request.length_penalty = 1;
    request.cancel = &cancel;
    result = ResultOf(out_tokens.data(), lengths.data(), scores.data(), slots);
  }
};

// The source i of a Call, as a sentence of a batch.
inline sub3_sentence Sentence(const Call& call, uint64_t i, uint32_t beam_size) {
  sub3_sentence sentence{};
  sentence.id = i;
  sentence.tokens = call.tokens.data() + call.offsets[i];
  sentence.num_tokens = call.offsets[i + 1] - call.offsets[i];
  sentence.max_length = call.max_lengths[i];
  sentence.beam_size = beam_size;
  sentence.length_penalty = 1;
  return sentence;
}

#endif  // SUB3_TESTS_KERNELS_TINY_MODEL_H_
