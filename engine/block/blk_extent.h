/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is all of an image there? A storage daemon reads what lies behind the end of a file as zeroes, so a qcow2, VDI or VMDK image that has been
 * cut would be a disk with holes. Their tables are read here, with bounds: a bad image is refused, and a strange one is left to the daemon.
 */
#ifndef STEELYARD_BLK_EXTENT_H
#define STEELYARD_BLK_EXTENT_H

#include "engine/block/block.h"

#define BLK_BACKING_MAX 1023u

/* false: something that the image needs is behind its end. Of more than 64 MiB of tables the rest is not looked at. */
bool blk_extent_whole(int fd, enum blk_format f);
/* The name of the backing file that a qcow2 header has, "" for none; false: the file cannot be read. */
bool blk_extent_backing(int fd, char name[BLK_BACKING_MAX + 1]);

#endif
