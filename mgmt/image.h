/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Root images of Debian for machines: steelyard image. Called by the main thread, before any machine exists. */
#ifndef STEELYARD_IMAGE_H
#define STEELYARD_IMAGE_H

/* The verb: argv[0] is its name. Returns the process's exit status. */
int image_main(int argc, char **argv);

#endif
