/* Means over windows of int8 images. */
#ifndef KD_AVERAGE_POOL_2D_H
#define KD_AVERAGE_POOL_2D_H

#include "pool.h"

typedef kd_pool_args kd_average_pool_2d_args;

void kd_average_pool_2d(const kd_average_pool_2d_args *args, const int8_t *input, int8_t *output);

#endif /* KD_AVERAGE_POOL_2D_H */
