/* SPDX-License-Identifier: MIT */
/* What libFuzzer calls for each input; it returns 0. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
