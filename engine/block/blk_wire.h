/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a virtio disk and its driver say to each other (virtio 1.2, 5.2): feature bits, the configuration, requests. For the two who speak it
 * here: the device that guests drive (engine/virtio/virtio_blk.c), and we as the driver of a storage daemon's (engine/block/vhost_*.c).
 */
#ifndef STEELYARD_BLK_WIRE_H
#define STEELYARD_BLK_WIRE_H

#include <stdint.h>

/* 5.2.3 */
#define BLK_F_SEG_MAX (1ull << 2)
#define BLK_F_RO (1ull << 5)
#define BLK_F_BLK_SIZE (1ull << 6)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_TOPOLOGY (1ull << 10)
#define BLK_F_MQ (1ull << 12)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

/* 5.2.4; capacity and limits in sectors of 512 bytes, whatever blk_size is. */
struct blk_wire_config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_exp, alignment;
	uint16_t min_io;
	uint32_t opt_io;
	uint8_t writeback, unused;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_alignment;
	uint32_t max_zeroes_sectors, max_zeroes_seg;
	uint8_t zeroes_may_unmap, unused2[3];
} __attribute__((packed));

/* 5.2.6: the first 16 bytes of a request, its ranges, its last byte. */
enum { BLK_T_IN = 0, BLK_T_OUT = 1, BLK_T_FLUSH = 4, BLK_T_GET_ID = 8, BLK_T_DISCARD = 11, BLK_T_WRITE_ZEROES = 13 };
#define BLK_RANGE_UNMAP 1u /* of BLK_T_WRITE_ZEROES: the space may be given back */
enum { BLK_S_OK, BLK_S_IOERR, BLK_S_UNSUPP };

struct blk_wire_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_wire_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

#endif
