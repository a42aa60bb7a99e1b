// The bytes of one execution of a libFuzzer target, read as numbers; what is behind their end reads as zeros.

#ifndef SUB3_TESTS_FUZZ_INPUT_H_
#define SUB3_TESTS_FUZZ_INPUT_H_

#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <cstring>

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }

  template <typename T>
  T Take() {
    T value{};
    const size_t n = std::min(sizeof(T), size_);
    std::memcpy(&value, data_, n);
    data_ += n, size_ -= n;
    return value;
  }

  uint64_t Below(uint64_t bound) { return Take<uint8_t>() % bound; }

  // A number as hostile code would choose it: small, any, or at a power of two.
  uint64_t Number() {
    switch (Below(4)) {
      case 0:
        return Take<uint8_t>();
      case 1:
        return Take<uint32_t>();
      case 2:
        return Take<uint64_t>();
      default:
        return (uint64_t{1} << Below(64)) + static_cast<uint64_t>(static_cast<int64_t>(Take<int8_t>()));
    }
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

#endif  // SUB3_TESTS_FUZZ_INPUT_H_
