#include "kernels/network/model.h"

#include <cmath>
#include <string>

namespace sub3 {

namespace {

constexpr uint64_t kMaxLayers = 256;
constexpr uint64_t kMaxVocabulary = uint64_t{1} << 24;
constexpr uint64_t kMaxPositions = uint64_t{1} << 16;

[[noreturn]] void Refuse(const std::string& sentence) { throw InvalidModel(sentence); }

struct Range {
  const char* field;
  uint64_t value, least, most;
};

struct Rule {
  bool holds;
  const char* otherwise;
};

void CheckArchitecture(const sub3_config& c) {
  const Range ranges[] = {
      {"d_model", c.d_model, 1, kMaxColumns},
      {"source_vocab_size", c.source_vocab_size, 1, kMaxVocabulary},
      {"target_vocab_size", c.target_vocab_size, 1, kMaxVocabulary},
      {"encoder_layers", c.encoder_layers, 1, kMaxLayers},
      {"decoder_layers", c.decoder_layers, 1, kMaxLayers},
      {"encoder_heads", c.encoder_heads, 1, c.d_model},
      {"decoder_heads", c.decoder_heads, 1, c.d_model},
      {"encoder_ffn_dim", c.encoder_ffn_dim, 1, kMaxColumns},
      {"decoder_ffn_dim", c.decoder_ffn_dim, 1, kMaxColumns},
      {"max_positions", c.max_positions, 1, kMaxPositions},
  };
  for (const Range& range : ranges) {
    if (range.value < range.least || range.value > range.most) {
      Refuse(std::string("The architecture's ") + range.field + " is " + std::to_string(range.value) +
             "; it must be from " + std::to_string(range.least) + " to " + std::to_string(range.most) + ".");
    }
  }
  const Rule rules[] = {
      {c.d_model % 2 == 0, "The architecture's d_model must be even: positions are sines and cosines."},
      {c.d_model % c.encoder_heads == 0 && c.d_model % c.decoder_heads == 0,
       "The architecture's d_model must be a multiple of the number of heads."},
      {!c.shared_vocabulary || c.source_vocab_size == c.target_vocab_size,
       "A shared vocabulary has one size, but source_vocab_size and target_vocab_size differ."},
      {c.norm_epsilon > 0 && c.norm_epsilon < 1, "The architecture's norm_epsilon must be between 0 and 1."},
      {c.activation == SUB3_RELU || c.activation == SUB3_SWISH || c.activation == SUB3_GELU,
       "The architecture's activation is unknown; relu, swish and gelu are known."},
      {c.positions <= SUB3_TENSOR2TENSOR_POSITIONS,
       "The architecture's positions are unknown; marian, fairseq and tensor2tensor are known."},
  };
  for (const Rule& rule : rules) {
    if (!rule.holds) Refuse(rule.otherwise);
  }
}

void CheckIds(const sub3_config& c) {
  const auto check = [&](const char* field, int32_t id) {
    if (id < 0 || static_cast<uint64_t>(id) >= c.target_vocab_size) {
      Refuse(std::string("The id ") + field + " is " + std::to_string(id) + ", outside the target vocabulary.");
    }
  };
  check("eos", c.eos);
  check("decoder_start", c.decoder_start);
  if (static_cast<uint64_t>(c.eos) >= c.source_vocab_size) Refuse("The id eos is outside the source vocabulary.");
  if (c.num_suppressed > 0 && c.suppressed == nullptr) Refuse("The list of suppressed ids is missing.");
  for (uint64_t i = 0; i < c.num_suppressed; ++i) {
    check("in suppressed", c.suppressed[i]);
    if (c.suppressed[i] == c.eos) Refuse("The id eos can't be suppressed: no translation would end.");
  }
}

Activation ActivationOf(uint32_t activation) {
  switch (activation) {
    case SUB3_RELU:
      return Activation::kRelu;
    case SUB3_SWISH:
      return Activation::kSwish;
    default:
      return Activation::kGelu;
  }
}

Config CheckedConfig(const sub3_config& c) {
  CheckArchitecture(c);
  CheckIds(c);
  Config config{};
  config.d_model = c.d_model;
  config.source_vocab_size = c.source_vocab_size;
  config.target_vocab_size = c.target_vocab_size;
  config.encoder_heads = c.encoder_heads;
  config.encoder_ffn_dim = c.encoder_ffn_dim;
  config.decoder_heads = c.decoder_heads;
  config.decoder_ffn_dim = c.decoder_ffn_dim;
  config.activation = ActivationOf(c.activation);
  config.pre_norm = c.pre_norm != 0;
  config.ssru = c.ssru != 0;
  config.norm_epsilon = c.norm_epsilon;
  config.embedding_scale = c.scale_embedding ? std::sqrt(static_cast<float>(c.d_model)) : 1.0f;
  config.max_positions = c.max_positions;
  config.eos = c.eos;
  config.decoder_start = c.decoder_start;
  if (c.num_suppressed > 0) config.suppressed.assign(c.suppressed, c.suppressed + c.num_suppressed);
  return config;
}

// Reads layers from the table by their names.
class LayerReader {
 public:
  LayerReader(const Config& config, TensorTable* table) : config_(config), table_(*table) {}

  EncoderLayer ReadEncoderLayer(const std::string& name) {
    EncoderLayer layer{ReadAttention(name + ".self_attention"),
                       ReadFeedForward(name + ".ffn", config_.encoder_ffn_dim)};
    Attention& attention = layer.self_attention;
    for (Linear* linear :
         {&attention.query, &attention.key, &attention.value, &attention.output, &layer.ffn.inner, &layer.ffn.outer}) {
      ChooseInt8(linear);
    }
    return layer;
  }

  DecoderLayer ReadDecoderLayer(const std::string& name) {
    DecoderLayer layer{
        {}, ReadAttention(name + ".encoder_attention"), ReadFeedForward(name + ".ffn", config_.decoder_ffn_dim)};
    if (config_.ssru) {
      layer.past = ReadSsru(name + ".ssru");
    } else {
      layer.past = ReadAttention(name + ".self_attention");
    }
    ChooseInt8(&layer.encoder_attention.key);
    ChooseInt8(&layer.encoder_attention.value);
    return layer;
  }

  LayerNorm ReadNorm(const std::string& name) {
    return {table_.Vector(name + ".gain", config_.d_model), table_.Vector(name + ".bias", config_.d_model)};
  }

 private:
  Attention ReadAttention(const std::string& name) {
    const size_t d = config_.d_model;
    return {ReadLinear(name + ".query", d, d), ReadLinear(name + ".key", d, d), ReadLinear(name + ".value", d, d),
            ReadLinear(name + ".output", d, d), ReadNorm(name + ".norm")};
  }

  Ssru ReadSsru(const std::string& name) {
    const size_t d = config_.d_model;
    return {ReadLinear(name + ".forget", d, d), {table_.Matrix(name + ".candidate", d, d)}, ReadNorm(name + ".norm")};
  }

  FeedForward ReadFeedForward(const std::string& name, size_t ffn_dim) {
    return {ReadLinear(name + ".inner", ffn_dim, config_.d_model),
            ReadLinear(name + ".outer", config_.d_model, ffn_dim), ReadNorm(name + ".norm")};
  }

  Linear ReadLinear(const std::string& name, size_t rows, size_t columns) {
    return {table_.Matrix(name, rows, columns), table_.Vector(name + ".bias", rows)};
  }

  static void ChooseInt8(Linear* linear) { linear->int8 = FitsInt8(linear->weight, kMaxPlanesForInt8); }

  const Config& config_;
  TensorTable& table_;
};

}  // namespace

Model BuildModel(const sub3_config& config, const sub3_tensor* tensors, uint64_t num_tensors,
                 const sub3_segment* segments, uint64_t num_segments) {
  Model model;
  model.config = CheckedConfig(config);
  TensorTable table(tensors, num_tensors, segments, num_segments);
  LayerReader builder(model.config, &table);
  const size_t d = model.config.d_model;
  if (config.shared_vocabulary) {
    model.source_embedding = model.target_embedding = table.Matrix("embedding", config.source_vocab_size, d);
  } else {
    model.source_embedding = table.Matrix("source_embedding", config.source_vocab_size, d);
    model.target_embedding = table.Matrix("target_embedding", config.target_vocab_size, d);
  }
  model.output.weight =
      config.tied_output ? model.target_embedding : table.Matrix("output", config.target_vocab_size, d);
  model.output.bias = table.Vector("output.bias", config.target_vocab_size, /*optional=*/true);
  model.lexicon = ReadLexicon(config.source_vocab_size, config.target_vocab_size, &table);
  for (uint32_t l = 0; l < config.encoder_layers; ++l) {
    model.encoder.push_back(builder.ReadEncoderLayer("encoder." + std::to_string(l)));
  }
  for (uint32_t l = 0; l < config.decoder_layers; ++l) {
    model.decoder.push_back(builder.ReadDecoderLayer("decoder." + std::to_string(l)));
  }
  if (model.config.pre_norm) {
    model.encoder_norm = builder.ReadNorm("encoder.norm");
    model.decoder_norm = builder.ReadNorm("decoder.norm");
  }
  model.positions = Positions(model.config.max_positions, d, static_cast<PositionKind>(config.positions));
  model.widened = table.TakeWidened();
  model.weight_bytes = table.bytes_used();
  return model;
}

}  // namespace sub3
