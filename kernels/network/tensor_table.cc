#include "kernels/network/tensor_table.h"

#include <algorithm>

namespace sub3 {

static_assert(SUB3_BLOCK_ROWS == kBlockRows && SUB3_WORD_COLUMNS == kChunkColumns && SUB3_MAX_PLANES == kMaxPlanes,
              "the C ABI states the format of the codes as the products read it");

namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 40;  // of a tensor: products of three dimensions can't overflow

[[noreturn]] void Refuse(const std::string& sentence) { throw InvalidModel(sentence); }

std::string Quote(const std::string& name) { return "\"" + name + "\""; }

// 0 for an unknown type.
uint64_t ElementBytes(uint32_t dtype) {
  switch (dtype) {
    case SUB3_FLOAT16:
      return 2;
    case SUB3_FLOAT32:
    case SUB3_UINT32:
      return 4;
    default:
      return 0;
  }
}

uint64_t NumBlocks(uint64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

void CheckTensor(const sub3_tensor& tensor) {
  const std::string name = Quote(tensor.name);
  const uint64_t element = ElementBytes(tensor.dtype);
  if (element == 0) Refuse("Tensor " + name + " has an unknown type.");
  if (tensor.num_dims < 1 || tensor.num_dims > 3) Refuse("Tensor " + name + " must have 1 to 3 dimensions.");
  uint64_t elements = 1;
  for (uint32_t d = 0; d < tensor.num_dims; ++d) {
    if (tensor.shape[d] == 0 || tensor.shape[d] > kMaxElements / elements) {
      Refuse("Tensor " + name + " has an empty or impossibly large shape.");
    }
    elements *= tensor.shape[d];
  }
  if (tensor.bytes != elements * element) {
    Refuse("Tensor " + name + " has " + std::to_string(tensor.bytes) + " bytes where its shape needs " +
           std::to_string(elements * element) + ".");
  }
  if (tensor.data == nullptr || reinterpret_cast<uintptr_t>(tensor.data) % element != 0) {
    Refuse("Tensor " + name + " has no data, or data at an unaligned address.");
  }
}

// Divides the columns of the matrix into scale groups; group_size 0: one for the whole row.
void SetGroups(const std::string& name, uint64_t group_size, BcqMatrix* matrix) {
  if (group_size % kChunkColumns != 0 || group_size > kMaxColumns) {
    Refuse("The group size of matrix " + Quote(name) + " must be a multiple of 32.");
  }
  matrix->chunks_per_group =
      group_size == 0 ? matrix->chunks : std::min<size_t>(group_size / kChunkColumns, matrix->chunks);
  matrix->groups = (matrix->chunks + matrix->chunks_per_group - 1) / matrix->chunks_per_group;
}

}  // namespace

TensorTable::TensorTable(const sub3_tensor* tensors, uint64_t num_tensors, const sub3_segment* segments,
                         uint64_t num_segments) {
  if (tensors == nullptr || segments == nullptr) Refuse("The tensor table or the segment table is missing.");
  for (uint64_t i = 0; i < num_tensors; ++i) {
    if (tensors[i].name == nullptr) Refuse("Tensor " + std::to_string(i) + " has no name.");
    CheckTensor(tensors[i]);
    const std::string name = tensors[i].name;
    if (!tensors_.emplace(name, &tensors[i]).second) Refuse("Tensor " + Quote(name) + " is there twice.");
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

TensorTable::Numbers TensorTable::Integers(const std::string& name) {
  if (tensors_.find(name) == tensors_.end()) return {nullptr, 0};
  const sub3_tensor& tensor = Find(name, SUB3_UINT32, 1);
  return {static_cast<const uint32_t*>(tensor.data), tensor.shape[0]};
}

BcqMatrix TensorTable::Matrix(const std::string& name, size_t rows, size_t columns) {
  const auto found = segments_.find(name);
  if (found == segments_.end()) Refuse("Matrix " + Quote(name) + " has no segments.");
  BcqMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.chunks = NumChunks(columns);
  SetGroups(name, found->second[0]->group_size, &matrix);
  ReadScales(name, found->second, &matrix);
  ReadPlanes(name, &matrix);
  return matrix;
}

// Adds the segments, which must cover the rows in order, with their scales.
void TensorTable::ReadScales(const std::string& name, const Segments& segments, BcqMatrix* matrix) {
  uint64_t covered = 0;
  for (const sub3_segment* segment : segments) {
    if (segment->begin != covered || segment->end <= segment->begin || segment->end > matrix->rows ||
        segment->planes < 1 || segment->planes > kMaxPlanes || segment->group_size != segments[0]->group_size) {
      Refuse("The segments of matrix " + Quote(name) + " must cover its " + std::to_string(matrix->rows) +
             " rows in order, each with 1 to 8 planes and the same group size.");
    }
    covered = segment->end;
    matrix->segments.push_back(ReadSegment(*segment, *matrix));
  }
  if (covered != matrix->rows) {
    Refuse("The segments of matrix " + Quote(name) + " cover " + std::to_string(covered) + " of " +
           std::to_string(matrix->rows) + " rows.");
  }
}

BcqSegment TensorTable::ReadSegment(const sub3_segment& segment, const BcqMatrix& matrix) {
  const std::string name = std::string(segment.matrix) + ".scales." + std::to_string(segment.planes);
  const sub3_tensor& scales = Find(name, SUB3_FLOAT16, 3);
  const uint64_t first_row = segment.begin / kBlockRows * kBlockRows;
  const uint64_t last_row = NumBlocks(segment.end) * kBlockRows;
  if (scales.shape[0] != segment.planes || scales.shape[1] != matrix.groups || scales.shape[2] % kBlockRows != 0 ||
      segment.scale_begin % kBlockRows != 0 || segment.scale_begin > first_row ||
      scales.shape[2] < last_row - segment.scale_begin) {
    Refuse("Tensor " + Quote(name) + " does not cover the rows and groups of its segment.");
  }
  bytes_used_ += segment.planes * matrix.groups * (last_row - first_row) * sizeof(uint16_t);
  return {
      segment.begin,       segment.end,    static_cast<int>(segment.planes), static_cast<const uint16_t*>(scales.data),
      segment.scale_begin, scales.shape[2]};
}

// Finds the planes that the segments use. A plane has the rows up to the last segment that uses it.
void TensorTable::ReadPlanes(const std::string& name, BcqMatrix* matrix) {
  for (int i = 0; i < kMaxPlanes; ++i) {
    uint64_t rows = 0;
    for (const BcqSegment& segment : matrix->segments) rows = segment.planes > i ? segment.end : rows;
    if (rows == 0) return;
    const std::string plane_name = name + ".plane." + std::to_string(i + 1);
    const sub3_tensor& plane = Find(plane_name, SUB3_UINT32, 3);
    if (plane.shape[0] < NumBlocks(rows) || plane.shape[1] != matrix->chunks || plane.shape[2] != kBlockRows) {
      Refuse("Tensor " + Quote(plane_name) + " does not have the shape of " + std::to_string(rows) + " rows of " +
             std::to_string(matrix->columns) + " columns.");
    }
    matrix->planes[i] = static_cast<const uint32_t*>(plane.data);
    bytes_used_ += NumBlocks(rows) * matrix->chunks * kBlockRows * sizeof(uint32_t);
  }
}

}  // namespace sub3
