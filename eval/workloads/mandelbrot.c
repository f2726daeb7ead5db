/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Mandelbrot set, 64 x 64 points, up to 200 steps: a tight loop of scalar doubles. */
#include "workload.h"

uint64_t wl_mandelbrot(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 4 * scale; rep++) {
		uint64_t steps = 0;

		for (unsigned py = 0; py < 64; py++)
			for (unsigned px = 0; px < 64; px++) {
				double cx = px * (3.0 / 64) - 2.0 + (double)rep * 1e-5, cy = py * (2.0 / 64) - 1.0,
				       x = 0, y = 0;
				unsigned n = 0;

				for (; n < 200; n++) {
					double xx = x * x, yy = y * y;

					if (xx + yy > 4.0)
						break;
					y = 2 * x * y + cy;
					x = xx - yy + cx;
				}
				steps += n;
			}
		sum = wl_mix(sum, steps);
	}
	return sum;
}
