#include "kernels/network/model.h"

#include <algorithm>
#include <cmath>

namespace sub3 {

namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 40;  // of a tensor: products of three dimensions can't overflow
constexpr uint64_t kMaxLayers = 256;
constexpr uint64_t kMaxDimension = uint64_t{1} << 24;
constexpr uint64_t kMaxPositions = uint64_t{1} << 16;

[[noreturn]] void Refuse(const std::string& sentence) { throw InvalidModel(sentence); }

std::string Quote(const std::string& name) { return "\"" + name + "\""; }

uint64_t ElementBytes(uint32_t dtype) {
  switch (dtype) {
    case SUB3_FLOAT32:
      return 4;
    case SUB3_FLOAT16:
      return 2;
    case SUB3_UINT32:
      return 4;
    default:
      return 0;
  }
}

uint64_t RoundUp(uint64_t n, uint64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

void CheckRange(const char* field, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most) {
    Refuse(std::string("The architecture's ") + field + " is " + std::to_string(value) + "; it must be from " +
           std::to_string(least) + " to " + std::to_string(most) + ".");
  }
}

Config CheckConfig(const sub3_config& c) {
  CheckRange("d_model", c.d_model, 1, kMaxColumns);
  CheckRange("source_vocab_size", c.source_vocab_size, 1, kMaxDimension);
  CheckRange("target_vocab_size", c.target_vocab_size, 1, kMaxDimension);
  CheckRange("encoder_layers", c.encoder_layers, 1, kMaxLayers);
  CheckRange("decoder_layers", c.decoder_layers, 1, kMaxLayers);
  CheckRange("encoder_heads", c.encoder_heads, 1, c.d_model);
  CheckRange("decoder_heads", c.decoder_heads, 1, c.d_model);
  CheckRange("encoder_ffn_dim", c.encoder_ffn_dim, 1, kMaxColumns);
  CheckRange("decoder_ffn_dim", c.decoder_ffn_dim, 1, kMaxColumns);
  CheckRange("max_positions", c.max_positions, 1, kMaxPositions);
  if (c.d_model % 2 != 0) Refuse("The architecture's d_model must be even: positions are sines and cosines.");
  if (c.d_model % c.encoder_heads != 0 || c.d_model % c.decoder_heads != 0) {
    Refuse("The architecture's d_model must be a multiple of the number of heads.");
  }
  if (c.shared_vocabulary && c.source_vocab_size != c.target_vocab_size) {
    Refuse("A shared vocabulary has one size, but source_vocab_size and target_vocab_size differ.");
  }
  if (!(c.norm_epsilon > 0 && c.norm_epsilon < 1)) Refuse("The architecture's norm_epsilon must be between 0 and 1.");
  if (c.activation != SUB3_RELU && c.activation != SUB3_SWISH && c.activation != SUB3_GELU) {
    Refuse("The architecture's activation is unknown; relu, swish and gelu are known.");
  }
  const auto check_id = [&](const char* field, int32_t id) {
    if (id < 0 || static_cast<uint64_t>(id) >= c.target_vocab_size) {
      Refuse(std::string("The id ") + field + " is " + std::to_string(id) + ", outside the target vocabulary.");
    }
  };
  check_id("eos", c.eos);
  check_id("decoder_start", c.decoder_start);
  if (static_cast<uint64_t>(c.eos) >= c.source_vocab_size) Refuse("The id eos is outside the source vocabulary.");
  if (c.num_suppressed > 0 && c.suppressed == nullptr) Refuse("The list of suppressed ids is missing.");
  Config config{};
  for (uint64_t i = 0; i < c.num_suppressed; ++i) {
    check_id("in suppressed", c.suppressed[i]);
    if (c.suppressed[i] == c.eos) Refuse("The id eos can't be suppressed: no translation would end.");
    config.suppressed.push_back(c.suppressed[i]);
  }
  config.d_model = c.d_model;
  config.source_vocab_size = c.source_vocab_size;
  config.target_vocab_size = c.target_vocab_size;
  config.encoder_heads = c.encoder_heads;
  config.encoder_ffn_dim = c.encoder_ffn_dim;
  config.decoder_heads = c.decoder_heads;
  config.decoder_ffn_dim = c.decoder_ffn_dim;
  config.activation = c.activation == SUB3_RELU    ? Activation::kRelu
                      : c.activation == SUB3_SWISH ? Activation::kSwish
                                                   : Activation::kGelu;
  config.pre_norm = c.pre_norm != 0;
  config.norm_epsilon = c.norm_epsilon;
  config.embedding_scale = c.scale_embedding ? std::sqrt(static_cast<float>(c.d_model)) : 1.0f;
  config.max_positions = c.max_positions;
  config.eos = c.eos;
  config.decoder_start = c.decoder_start;
  return config;
}

}  // namespace

Positions::Positions(size_t max_positions, size_t d_model) : half_(d_model / 2) {
  const size_t coarse = (max_positions + kFine - 1) / kFine;
  table_.resize((kFine + coarse) * d_model);
  for (size_t i = 0; i < half_; ++i) {
    const double rate = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(d_model));
    for (size_t row = 0; row < kFine + coarse; ++row) {
      const size_t position = row < kFine ? row : (row - kFine) * kFine;
      const double angle = static_cast<double>(position) * rate;
      table_[row * d_model + i] = std::sin(angle);
      table_[row * d_model + half_ + i] = std::cos(angle);
    }
  }
}

void Positions::Add(size_t position, float* x) const {
  const double* fine = table_.data() + position % kFine * 2 * half_;
  const double* coarse = table_.data() + (kFine + position / kFine) * 2 * half_;
  for (size_t i = 0; i < half_; ++i) {
    x[i] += static_cast<float>(coarse[i] * fine[half_ + i] + coarse[half_ + i] * fine[i]);
    x[half_ + i] += static_cast<float>(coarse[half_ + i] * fine[half_ + i] - coarse[i] * fine[i]);
  }
}

TensorTable::TensorTable(const sub3_tensor* tensors, uint64_t num_tensors, const sub3_segment* segments,
                         uint64_t num_segments) {
  if (tensors == nullptr || segments == nullptr) Refuse("The tensor table or the segment table is missing.");
  for (uint64_t i = 0; i < num_tensors; ++i) {
    const sub3_tensor& tensor = tensors[i];
    if (tensor.name == nullptr) Refuse("Tensor " + std::to_string(i) + " has no name.");
    const std::string name = tensor.name;
    const uint64_t element = ElementBytes(tensor.dtype);
    if (element == 0) Refuse("Tensor " + Quote(name) + " has an unknown type.");
    if (tensor.num_dims < 1 || tensor.num_dims > 3) Refuse("Tensor " + Quote(name) + " must have 1 to 3 dimensions.");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < tensor.num_dims; ++d) {
      if (tensor.shape[d] == 0 || tensor.shape[d] > kMaxElements / elements) {
        Refuse("Tensor " + Quote(name) + " has an empty or impossibly large shape.");
      }
      elements *= tensor.shape[d];
    }
    if (tensor.bytes != elements * element) {
      Refuse("Tensor " + Quote(name) + " has " + std::to_string(tensor.bytes) + " bytes where its shape needs " +
             std::to_string(elements * element) + ".");
    }
    if (tensor.data == nullptr || reinterpret_cast<uintptr_t>(tensor.data) % element != 0) {
      Refuse("Tensor " + Quote(name) + " has no data, or data at an unaligned address.");
    }
    if (!tensors_.emplace(name, &tensor).second) Refuse("Tensor " + Quote(name) + " is there twice.");
  }
  for (uint64_t i = 0; i < num_segments; ++i) {
    if (segments[i].matrix == nullptr) Refuse("Segment " + std::to_string(i) + " names no matrix.");
    segments_[segments[i].matrix].push_back(&segments[i]);
  }
}

const sub3_tensor& TensorTable::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) Refuse("Tensor " + Quote(name) + " is missing.");
  return *found->second;
}

const sub3_tensor& TensorTable::Find(const std::string& name, uint32_t dtype, uint32_t num_dims) const {
  const sub3_tensor& tensor = Find(name);
  if (tensor.dtype != dtype || tensor.num_dims != num_dims) {
    Refuse("Tensor " + Quote(name) + " has the wrong type or number of dimensions.");
  }
  return tensor;
}

const float* TensorTable::Vector(const std::string& name, size_t n, bool optional) {
  if (optional && tensors_.find(name) == tensors_.end()) return nullptr;
  const bool half = Find(name).dtype == SUB3_FLOAT16;
  const sub3_tensor& tensor = Find(name, half ? SUB3_FLOAT16 : SUB3_FLOAT32, 1);
  if (tensor.shape[0] != n) {
    Refuse("Tensor " + Quote(name) + " has " + std::to_string(tensor.shape[0]) +
           " entries where the architecture has " + std::to_string(n) + ".");
  }
  bytes_used_ += tensor.bytes;
  if (!half) return static_cast<const float*>(tensor.data);
  std::vector<float>& wide = widened_.emplace_back(n);
  std::transform(static_cast<const uint16_t*>(tensor.data), static_cast<const uint16_t*>(tensor.data) + n, wide.begin(),
                 HalfToFloat);
  return wide.data();
}

BcqSegment TensorTable::Segment(const sub3_segment& segment, const BcqMatrix& matrix) {
  const std::string name = std::string(segment.matrix) + ".scales." + std::to_string(segment.planes);
  const sub3_tensor& scales = Find(name, SUB3_FLOAT16, 3);
  const uint64_t first_block = segment.begin / kBlockRows * kBlockRows;
  const uint64_t last_block = RoundUp(segment.end, kBlockRows);
  if (scales.shape[0] != segment.planes || scales.shape[1] != matrix.groups || scales.shape[2] % kBlockRows != 0 ||
      segment.scale_begin % kBlockRows != 0 || segment.scale_begin > first_block ||
      scales.shape[2] < last_block - segment.scale_begin) {
    Refuse("Tensor " + Quote(name) + " does not cover the rows and groups of its segment.");
  }
  bytes_used_ += segment.planes * matrix.groups * (last_block - first_block) * sizeof(uint16_t);
  return {
      segment.begin,       segment.end,    static_cast<int>(segment.planes), static_cast<const uint16_t*>(scales.data),
      segment.scale_begin, scales.shape[2]};
}

BcqMatrix TensorTable::Matrix(const std::string& name, size_t rows, size_t columns) {
  const auto found = segments_.find(name);
  if (found == segments_.end()) Refuse("Matrix " + Quote(name) + " has no segments.");
  const std::vector<const sub3_segment*>& segments = found->second;

  BcqMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.chunks = RoundUp(columns, kChunkColumns) / kChunkColumns;
  const uint64_t group_size = segments[0]->group_size == 0 ? matrix.chunks * kChunkColumns : segments[0]->group_size;
  if (group_size % kChunkColumns != 0 || group_size > RoundUp(kMaxColumns, kChunkColumns)) {
    Refuse("The group size of matrix " + Quote(name) + " must be a multiple of 32.");
  }
  matrix.chunks_per_group = std::min<size_t>(group_size / kChunkColumns, matrix.chunks);
  matrix.groups = (matrix.chunks + matrix.chunks_per_group - 1) / matrix.chunks_per_group;

  uint64_t covered = 0;
  uint64_t plane_rows[kMaxPlanes] = {};
  for (const sub3_segment* segment : segments) {
    if (segment->begin != covered || segment->end <= segment->begin || segment->end > rows || segment->planes < 1 ||
        segment->planes > kMaxPlanes || segment->group_size != segments[0]->group_size) {
      Refuse("The segments of matrix " + Quote(name) + " must cover its " + std::to_string(rows) +
             " rows in order, each with 1 to 8 planes and the same group size.");
    }
    covered = segment->end;
    for (uint32_t i = 0; i < segment->planes; ++i) plane_rows[i] = segment->end;
    matrix.segments.push_back(Segment(*segment, matrix));
  }
  if (covered != rows) {
    Refuse("The segments of matrix " + Quote(name) + " cover " + std::to_string(covered) + " of " +
           std::to_string(rows) + " rows.");
  }
  for (int i = 0; i < kMaxPlanes && plane_rows[i] > 0; ++i) {
    const std::string plane_name = name + ".plane." + std::to_string(i + 1);
    const sub3_tensor& plane = Find(plane_name, SUB3_UINT32, 3);
    const uint64_t blocks = RoundUp(plane_rows[i], kBlockRows) / kBlockRows;
    if (plane.shape[0] < blocks || plane.shape[1] != matrix.chunks || plane.shape[2] != kBlockRows) {
      Refuse("Tensor " + Quote(plane_name) + " does not have the shape of " + std::to_string(plane_rows[i]) +
             " rows of " + std::to_string(columns) + " columns.");
    }
    matrix.planes[i] = static_cast<const uint32_t*>(plane.data);
    bytes_used_ += blocks * matrix.chunks * kBlockRows * sizeof(uint32_t);
  }
  return matrix;
}

namespace {

// Reads layers off the table by their names.
class Builder {
 public:
  Builder(const Config& config, TensorTable* table) : config_(config), table_(*table) {}

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
    DecoderLayer layer{ReadAttention(name + ".self_attention"), ReadAttention(name + ".encoder_attention"),
                       ReadFeedForward(name + ".ffn", config_.decoder_ffn_dim)};
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
  model.config = CheckConfig(config);
  TensorTable table(tensors, num_tensors, segments, num_segments);
  Builder builder(model.config, &table);
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
  model.positions = Positions(model.config.max_positions, d);
  model.widened = table.TakeWidened();
  model.weight_bytes = table.bytes_used();
  return model;
}

}  // namespace sub3
