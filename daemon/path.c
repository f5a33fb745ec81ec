// SPDX-License-Identifier: MIT
/* The verdict over a path as a table of rules, the first that applies; and what may copy besides, as hints.
 */
#include "path.h"

#include <inttypes.h>
#include <stdarg.h>

#include "jsonx.h"

static const char *const sides[LG_SIDES] = {"sender", "receiver"};

bool path_is_local(const char *name)
{
	return str_eq(name, "loopback") || str_eq(name, "veth");
}

/* ---- the verdict ---- */

static bool is_loopback(const char *name, const struct lg_device *device)
{
	return str_eq(name, "loopback") || str_eq(device[LG_SENDER].kind, "loopback");
}

static bool is_virtual_wire(const struct lg_device *device)
{
	return str_eq(device->kind, "veth") || str_eq(device->kind, "netkit");
}

/* A path by name ends where its own pair ends; between other namespaces both ends must be such devices. */
static bool is_pair(const char *name, const struct lg_device *device)
{
	return str_eq(name, "veth") ||
	       (is_virtual_wire(&device[LG_SENDER]) && is_virtual_wire(&device[LG_RECEIVER]));
}

static bool lacks_sg(const char *name, const struct lg_device *device)
{
	return device[LG_SENDER].sg == 0;
}

static bool lacks_csum(const char *name, const struct lg_device *device)
{
	return device[LG_SENDER].tx_csum == 0;
}

static const struct rule {
	bool (*applies)(const char *name, const struct lg_device *device);
	const char *cause, *why;
} rules[] = {
	{is_loopback, "looped to a local socket", "the path is the loopback device"},
	{is_pair, "looped to a local socket",
		"a pair of virtual devices hands the packets to a socket of this host"},
	{lacks_sg, "device without scatter-gather", "the stack makes the sender's packets linear"},
	{lacks_csum, "checksum in software", "the stack copies what it sums up for the sender's device"},
};

struct path_verdict path_verdict(const char *name, const struct lg_device *device)
{
	const struct lg_device *d = &device[LG_SENDER];

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].applies(name, device))
			return (struct path_verdict){true, true, rules[i].cause, rules[i].why};
	if (d->sg < 0 || d->tx_csum < 0)
		return (struct path_verdict){
			.why = "the sender's device does not tell its scatter-gather and checksum offload"};
	return (struct path_verdict){.known = true};
}

/* ---- the block ---- */

static void add_flag(json_object *o, const char *name, int8_t v)
{
	if (v < 0)
		json_add_null(o, name);
	else
		json_add_bool(o, name, v);
}

static json_object *device_json(const struct lg_device *d)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "device", d->name);
	json_add_str(o, "kind", d->kind[0] ? d->kind : NULL);
	json_add_str(o, "driver", d->driver[0] ? d->driver : NULL);
	json_add_str(o, "qdisc", d->qdisc[0] ? d->qdisc : NULL);
	json_add_u64(o, "mtu", d->mtu);
	add_flag(o, "sg", d->sg);
	add_flag(o, "tso", d->tso);
	add_flag(o, "gso", d->gso);
	add_flag(o, "gro", d->gro);
	add_flag(o, "tx_csum", d->tx_csum);
	if (d->taps < 0)
		json_add_null(o, "taps");
	else
		json_add_i64(o, "taps", d->taps);
	return o;
}

static void _printf_(2, 3) hint(json_object *hints, const char *format, ...)
{
	char text[240];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_push(hints, json_object_new_string(text));
}

/* What comes and goes, or depends on the packet, is no verdict. */
static void device_hints(json_object *hints, const struct lg_device *d, const char *side)
{
	if (d->taps > 0)
		hint(hints,
			"packet tap or capture: %" PRId32
			" packet socket%s on the %s's %s: as long as it is open, "
			"each packet is copied for it",
			d->taps, d->taps == 1 ? "" : "s", side, d->name);
	if (d->taps < 0)
		hint(hints, "whether a packet tap is on the %s's %s cannot be read here", side, d->name);
	if (str_eq(d->qdisc, "netem"))
		hint(hints, "queueing discipline: netem on the %s's %s copies what it corrupts or sums up",
			side, d->name);
}

static json_object *hints_json(const struct lg_device *device)
{
	json_object *hints = json_object_new_array();

	for (int s = 0; s < LG_SIDES; s++)
		device_hints(hints, &device[s], sides[s]);
	return hints;
}

static void add_verdict(json_object *o, struct path_verdict v)
{
	if (v.known)
		json_add_bool(o, "forces_copy", v.forces);
	else
		json_add_null(o, "forces_copy");
	if (v.cause)
		json_add_strf(o, "forces_copy_reason", "%s: %s", v.cause, v.why);
	else
		json_add_str(o, "forces_copy_reason", v.why);
}

json_object *path_json(const char *name, const struct lg_device *device)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "name", name);
	for (int s = 0; s < LG_SIDES; s++)
		json_add(o, sides[s], device_json(&device[s]));
	add_verdict(o, path_verdict(name, device));
	json_add(o, "hints", hints_json(device));
	return o;
}
