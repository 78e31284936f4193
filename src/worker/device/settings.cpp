// Settings of libtorch for cards that tch has no calls for. See `settings.rs`, which this file belongs to.

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include <exception>

extern "C" void finetuned_allow_tf32(bool allowed) {
  at::globalContext().setAllowTF32CuDNN(allowed);
  at::globalContext().setAllowTF32CuBLAS(allowed);
}

extern "C" bool finetuned_tf32_is_allowed() {
  return at::globalContext().allowTF32CuDNN() || at::globalContext().allowTF32CuBLAS();
}

// Without a card there is nothing to give back. A card that fails here fails again at the next call, which tells.
extern "C" void finetuned_empty_cache() {
  try {
    if (const auto card = at::accelerator::getAccelerator(false); card && at::accelerator::deviceCount() > 0) {
      at::getDeviceAllocator(*card)->emptyCache();
    }
  } catch (const std::exception&) {
  }
}
