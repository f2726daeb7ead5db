/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI Machine Language, the little of it that a device list needs (ACPI 6.4 chapter 20).
 * Errors are sticky: emit freely, check `overflow` once. A package is open until aml_close gets what opened it.
 */
#ifndef STEELYARD_AML_H
#define STEELYARD_AML_H

#include <stdbool.h>
#include <stdint.h>

struct aml {
	uint8_t *p, *start, *end;
	bool overflow;
};

/* An open package: where its length goes. */
struct aml_pkg {
	uint8_t *len_at;
};

void aml_init(struct aml *a, uint8_t *buf, uint32_t bytes);
uint32_t aml_length(const struct aml *a);

/* Scope(name): name is a 4-character segment, under the root: "_SB_". */
struct aml_pkg aml_scope(struct aml *a, const char name[4]);
struct aml_pkg aml_device(struct aml *a, const char name[4]);
void aml_close(struct aml *a, struct aml_pkg k);

/* Name(name, value) */
void aml_name_int(struct aml *a, const char name[4], uint32_t val);
/* Name(name, EisaId(id)); id: three capital letters and four hexadecimal digits. */
void aml_name_eisaid(struct aml *a, const char name[4], const char *id);
/* Name(name, Package { n integers }) */
void aml_name_package(struct aml *a, const char name[4], const uint32_t *val, unsigned n);

/* Method(name, args) { ... } and what goes into it; names are resolved upwards from the method. */
struct aml_pkg aml_method(struct aml *a, const char name[4], unsigned args);
void aml_store_arg0(struct aml *a, const char name[4]);
struct aml_pkg aml_if(struct aml *a, const char name[4]);
void aml_return(struct aml *a, const char name[4]);
/* Name(name, Package { n packages }): open, aml_package n times, close */
struct aml_pkg aml_name_list(struct aml *a, const char name[4], unsigned n);
void aml_package(struct aml *a, const uint32_t *val, unsigned n);

/* Name(_CRS, ResourceTemplate { ... }): open, add, close (ACPI 6.4 6.4.2). */
struct aml_crs {
	uint8_t body[192];
	unsigned len;
};
void aml_crs_io(struct aml_crs *c, uint16_t port, uint8_t len);
void aml_crs_irq(struct aml_crs *c, unsigned irq);
/* Ranges that a bridge hands on, by first and last; a fixed range of memory. */
void aml_crs_bus(struct aml_crs *c, uint16_t first, uint16_t last);
void aml_crs_io_window(struct aml_crs *c, uint16_t first, uint16_t last);
void aml_crs_mem_window(struct aml_crs *c, uint32_t first, uint32_t last);
void aml_crs_mem64_window(struct aml_crs *c, uint64_t first, uint64_t last);
void aml_crs_mem(struct aml_crs *c, uint32_t gpa, uint32_t bytes);
void aml_name_crs(struct aml *a, struct aml_crs *c);

#endif
