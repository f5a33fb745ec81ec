/* SPDX-License-Identifier: MIT */
/* Paths: loopback, a veth pair between two anonymous network namespaces, two named namespaces that exist. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "mode.h"
#include "netpath.h"
#include "rtnl.h"

#define OPER_UP 6       /* IF_OPER_UP of linux/if.h, which clashes with net/if.h */
#define LINK_TRIES 1000 /* of a millisecond */

#define USERNS_HINT                                                                                          \
	"; without root this needs user namespaces: see the sysctls kernel.unprivileged_userns_clone, "      \
	"user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns"

static const char *const veth_names[LG_SIDES] = {"cl-sender", "cl-receiver"};
static const char *const veth_addr4[LG_SIDES] = {"10.203.59.1", "10.203.59.2"};
static const char *const veth_addr6[LG_SIDES] = {"fd9c:b1e1:57a4::1", "fd9c:b1e1:57a4::2"};

static void set_address(struct netpath *path, int ipv6, const char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&path->addr;

	path->addr = (struct sockaddr_in6){};
	if (ipv6) {
		path->addr.sin6_family = AF_INET6;
		inet_pton(AF_INET6, text, &path->addr.sin6_addr);
		path->addr_len = sizeof(path->addr);
	} else {
		in->sin_family = AF_INET;
		inet_pton(AF_INET, text, &in->sin_addr);
		path->addr_len = sizeof(*in);
	}
}

static int open_loopback(const char *names, int ipv6, struct netpath *path, struct fault *reterr)
{
	str_copy(path->device[LG_SENDER], "lo");
	str_copy(path->device[LG_RECEIVER], "lo");
	set_address(path, ipv6, ipv6 ? "::1" : "127.0.0.1");
	return 0;
}

static int write_file(const char *name, const char *text)
{
	_cleanup_close_ int fd = open(name, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A user namespace in which the caller is root, and with it the right to make networks. */
static int own_user_namespace(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	char map[32];
	int r;

	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	/* Kernels since 3.19 take a gid map only after this. */
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	r = write_file("/proc/self/uid_map", map);
	if (r < 0)
		return r;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_file("/proc/self/gid_map", map);
}

static int new_network(int *ret_fd)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Root does without a user namespace where there is none to be had (or where a sanitizer's thread forbids
 * it). */
static int own_networks(struct netpath *path, struct fault *reterr)
{
	int r;

	r = own_user_namespace();
	if (r < 0 && geteuid() != 0)
		return fault_set(reterr, r, "namespaces", "path",
			"path veth: no user namespace: %s" USERNS_HINT, strerror(-r));
	for (int side = 0; side < LG_SIDES; side++) {
		r = new_network(&path->ns[side]);
		if (r < 0)
			return fault_set(reterr, r, "namespaces", "path",
				"path veth: no network namespace: %s%s", strerror(-r),
				r == -EPERM || r == -ENOSPC ? USERNS_HINT : "");
	}
	return 0;
}

static int add_address(int side, int ipv6)
{
	uint8_t addr[16];

	if (ipv6)
		inet_pton(AF_INET6, veth_addr6[side], addr);
	else
		inet_pton(AF_INET, veth_addr4[side], addr);
	return rtnl_address_add(
		veth_names[side], ipv6 ? AF_INET6 : AF_INET, addr, ipv6 ? 16 : 4, ipv6 ? 64 : 24);
}

static int set_up_end(const struct netpath *path, int side, int ipv6)
{
	int r;

	r = netpath_enter(path, side);
	if (r < 0)
		return r;
	r = rtnl_link_up("lo");
	if (r < 0)
		return r;
	r = add_address(side, ipv6);
	if (r < 0)
		return r;
	return rtnl_link_up(veth_names[side]);
}

/* The kernel brings an end up later, in a worker; a SYN sent before that is lost for a second. */
static int wait_until_up(const struct netpath *path, int side)
{
	struct rtnl_link link;
	int r;

	r = netpath_enter(path, side);
	if (r < 0)
		return r;
	for (int i = 0; i < LINK_TRIES; i++) {
		r = rtnl_link_get(veth_names[side], &link);
		if (r < 0)
			return r;
		if (link.operstate == OPER_UP && !str_eq(link.qdisc, "noop"))
			return 0;
		poll(NULL, 0, 1);
	}
	return -ETIMEDOUT;
}

/* Called in the receiver's namespace, the last one that was made. */
static int join_networks(const struct netpath *path, int ipv6)
{
	int r;

	r = rtnl_veth_add(veth_names[LG_RECEIVER], veth_names[LG_SENDER], path->ns[LG_SENDER]);
	for (int side = 0; side < LG_SIDES && r >= 0; side++)
		r = set_up_end(path, side, ipv6);
	for (int side = 0; side < LG_SIDES && r >= 0; side++)
		r = wait_until_up(path, side);
	return r;
}

static int open_veth(const char *names, int ipv6, struct netpath *path, struct fault *reterr)
{
	int r;

	r = own_networks(path, reterr);
	if (r < 0)
		return r;
	r = join_networks(path, ipv6);
	if (r < 0)
		return fault_set(reterr, r, "veth", "path",
			"path veth: cannot make or address the pair: %s%s", strerror(-r),
			r == -EPERM || r == -EACCES ? USERNS_HINT : "");
	str_copy(path->device[LG_SENDER], veth_names[LG_SENDER]);
	str_copy(path->device[LG_RECEIVER], veth_names[LG_RECEIVER]);
	set_address(path, ipv6, ipv6 ? veth_addr6[LG_SENDER] : veth_addr4[LG_SENDER]);
	return 0;
}

#define NETNS_FOLDER "/run/netns/"
#define NETNS_NAME 32
#define NETNS_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* "SERVER,CLIENT" into its two names; 0 if it is not of that form. */
static int split_names(const char *names, char ret[LG_SIDES][NETNS_NAME + 1])
{
	for (int side = 0; side < LG_SIDES; side++) {
		size_t n = strspn(names, NETNS_CHARACTERS);

		if (n < 1 || n > NETNS_NAME || names[n] != (side == LG_SENDER ? ',' : 0))
			return 0;
		snprintf(ret[side], NETNS_NAME + 1, "%.*s", (int)n, names);
		names += n + 1;
	}
	return 1;
}

static int valid_names(const char *names)
{
	char split[LG_SIDES][NETNS_NAME + 1];

	return split_names(names, split);
}

static int enter_named(const char *name, int *ret_fd, struct fault *reterr)
{
	char file[sizeof(NETNS_FOLDER) + NETNS_NAME];
	_cleanup_close_ int fd = -1;
	int error;

	snprintf(file, sizeof(file), NETNS_FOLDER "%s", name);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && setns(fd, CLONE_NEWNET) == 0) {
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
	error = errno;
	return fault_set(reterr, -error, "namespaces", "path", "path netns: cannot enter %s: %s%s", file,
		strerror(error),
		error == EPERM || error == EACCES ? "; named namespaces are for a load generator with "
						    "CAP_SYS_ADMIN, as root has it"
						  : "");
}

/* An address that another namespace might reach. */
static int usable(const struct ifaddrs *a, int family)
{
	if (!a->ifa_addr || a->ifa_addr->sa_family != family || !(a->ifa_flags & IFF_UP) ||
		a->ifa_flags & IFF_LOOPBACK)
		return 0;
	return family == AF_INET ||
	       !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)a->ifa_addr)->sin6_addr);
}

static const void *address_of(const struct sockaddr *a, size_t *ret_len)
{
	*ret_len = a->sa_family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
	if (a->sa_family == AF_INET6)
		return &((const struct sockaddr_in6 *)a)->sin6_addr;
	return &((const struct sockaddr_in *)a)->sin_addr;
}

/* In the client's namespace: the first of the server's addresses to which there is a route. */
static int choose_address(const struct ifaddrs *all, int family, struct netpath *path, struct rtnl_route *ret)
{
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		const void *addr;
		size_t len;

		if (!usable(a, family))
			continue;
		addr = address_of(a->ifa_addr, &len);
		if (rtnl_route_get(family, addr, len, ret) < 0)
			continue;
		path->addr_len =
			family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
		memcpy(&path->addr, a->ifa_addr, path->addr_len);
		return 0;
	}
	return -ENETUNREACH;
}

DEFINE_CLEANUP(struct ifaddrs *, freeifaddrs)

static int open_netns(const char *names, int ipv6, struct netpath *path, struct fault *reterr)
{
	_cleanup_(freeifaddrsp) struct ifaddrs *all = NULL;
	int family = ipv6 ? AF_INET6 : AF_INET, r;
	char name[LG_SIDES][NETNS_NAME + 1];
	struct rtnl_route there, back;

	split_names(names, name);
	r = enter_named(name[LG_SENDER], &path->ns[LG_SENDER], reterr);
	if (r < 0)
		return r;
	if (getifaddrs(&all) < 0)
		return fault_set(reterr, -errno, "namespaces", "path", "path netns: no addresses of %s: %s",
			name[LG_SENDER], strerror(errno));
	r = enter_named(name[LG_RECEIVER], &path->ns[LG_RECEIVER], reterr);
	if (r < 0)
		return r;
	r = choose_address(all, family, path, &there);
	if (r < 0)
		return fault_set(reterr, r, "no_route", "path",
			"path netns: namespace %s has no %s address on an interface that is up and that %s "
			"has "
			"a route to",
			name[LG_SENDER], ipv6 ? "IPv6" : "IPv4", name[LG_RECEIVER]);
	if_indextoname(there.ifindex, path->device[LG_RECEIVER]);
	r = netpath_enter(path, LG_SENDER);
	if (r >= 0)
		r = rtnl_route_get(family, there.from, ipv6 ? 16 : 4, &back);
	if (r < 0)
		return fault_set(reterr, r, "no_route", "path", "path netns: %s has no route back to %s: %s",
			name[LG_SENDER], name[LG_RECEIVER], strerror(-r));
	if_indextoname(back.ifindex, path->device[LG_SENDER]);
	return 0;
}

/* A row with valid() is the beginning of a name; what follows is for its open(). */
static const struct path_row {
	const char *name;
	int (*open)(const char *names, int ipv6, struct netpath *path, struct fault *reterr);
	int (*valid)(const char *names);
} paths[] = {
	{"loopback", open_loopback, NULL},
	{"veth", open_veth, NULL},
	{"netns:", open_netns, valid_names},
};

static const struct path_row *find_path(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		size_t n = strlen(paths[i].name);

		if (strncmp(paths[i].name, name, n) == 0 &&
			(paths[i].valid ? paths[i].valid(name + n) : !name[n]))
			return &paths[i];
	}
	return NULL;
}

int netpath_known(const char *name)
{
	return find_path(name) != NULL;
}

int netpath_open(const char *name, int ipv6, struct netpath *ret, struct fault *reterr)
{
	const struct path_row *row = find_path(name);

	*ret = (struct netpath){.ns = {-1, -1}};
	if (row)
		return row->open(name + strlen(row->name), ipv6, ret, reterr);
	return fault_set(reterr, -EINVAL, "unknown_name", "path", "'%s' is not a path", name);
}

int netpath_enter(const struct netpath *path, int side)
{
	if (path->ns[side] < 0)
		return 0;
	return setns(path->ns[side], CLONE_NEWNET) < 0 ? -errno : 0;
}

/* ETHTOOL_G* of one flag: 1, 0, or -1 where the driver has no answer. */
static int8_t ethtool_flag(int fd, struct ifreq *ifr, uint32_t command)
{
	struct ethtool_value value = {.cmd = command};

	ifr->ifr_data = (char *)&value;
	return ioctl(fd, SIOCETHTOOL, ifr) < 0 ? -1 : value.data != 0;
}

/*
 * Packet sockets of the namespace that take every packet (ETH_P_ALL) of the device, or of all devices.
 * Columns of /proc/net/packet: sk, RefCnt, Type, Proto in hex, Iface (0: all), R, ...; R is 1 when it is
 * hooked in.
 */
static int32_t count_taps(uint32_t ifindex)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/thread-self/net/packet", "re");
	unsigned int proto, device, hooked;
	char line[160];
	int32_t n = 0;

	if (!f || !fgets(line, sizeof(line), f))
		return -1;
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %*s %*s %x %u %u", &proto, &device, &hooked) == 3 &&
		     proto == ETH_P_ALL && hooked && (!device || device == ifindex);
	return n;
}

void netpath_device(const struct netpath *path, int side, struct lg_device *ret)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct rtnl_link link;
	struct ifreq ifr = {};

	ret->taps = -1;
	str_copy(ret->name, path->device[side]);
	str_copy(ifr.ifr_name, path->device[side]);
	if (rtnl_link_get(path->device[side], &link) == 0) {
		ret->mtu = link.mtu;
		str_copy(ret->qdisc, link.qdisc);
		str_copy(ret->kind, link.kind);
		ret->taps = count_taps(link.ifindex);
	}
	ifr.ifr_data = (char *)&driver;
	if (ioctl(fd, SIOCETHTOOL, &ifr) == 0)
		str_copy(ret->driver, driver.driver);
	ret->sg = ethtool_flag(fd, &ifr, ETHTOOL_GSG);
	ret->tso = ethtool_flag(fd, &ifr, ETHTOOL_GTSO);
	ret->gso = ethtool_flag(fd, &ifr, ETHTOOL_GGSO);
	ret->gro = ethtool_flag(fd, &ifr, ETHTOOL_GGRO);
	ret->tx_csum = ethtool_flag(fd, &ifr, ETHTOOL_GTXCSUM);
}
