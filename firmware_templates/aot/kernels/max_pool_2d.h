/* The largest values of windows of int8 images. */
#ifndef KD_MAX_POOL_2D_H
#define KD_MAX_POOL_2D_H

#include "pool.h"

typedef kd_pool_args kd_max_pool_2d_args;

void kd_max_pool_2d(const kd_max_pool_2d_args *args, const int8_t *input, int8_t *output);

#endif /* KD_MAX_POOL_2D_H */
