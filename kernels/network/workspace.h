// Scratch memory: 64-byte aligned arrays that live as long as the workspace, and their size in bytes.

#ifndef SUB3_KERNELS_WORKSPACE_H_
#define SUB3_KERNELS_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace sub3 {

class Workspace {
 public:
  // n uninitialised elements. Throws std::bad_alloc.
  template <typename T>
  T* Allocate(size_t n) {
    constexpr size_t kAlignment = 64;
    const size_t bytes = (n * sizeof(T) + kAlignment) / kAlignment * kAlignment;  // never 0
    void* memory = std::aligned_alloc(kAlignment, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    blocks_.emplace_back(memory, &std::free);
    bytes_ += bytes;
    return static_cast<T*>(memory);
  }

  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<std::unique_ptr<void, void (*)(void*)>> blocks_;
  uint64_t bytes_ = 0;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_WORKSPACE_H_
