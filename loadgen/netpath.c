/* SPDX-License-Identifier: MIT */
/* Paths: loopback, and a veth pair between two anonymous network namespaces. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

static int open_loopback(int ipv6, struct netpath *path, struct fault *reterr)
{
	path->device[LG_SENDER] = path->device[LG_RECEIVER] = "lo";
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

static int open_veth(int ipv6, struct netpath *path, struct fault *reterr)
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
	path->device[LG_SENDER] = veth_names[LG_SENDER];
	path->device[LG_RECEIVER] = veth_names[LG_RECEIVER];
	set_address(path, ipv6, ipv6 ? veth_addr6[LG_SENDER] : veth_addr4[LG_SENDER]);
	return 0;
}

static const struct {
	const char *name;
	int (*open)(int ipv6, struct netpath *path, struct fault *reterr);
} paths[] = {
	{"loopback", open_loopback},
	{"veth", open_veth},
};

int netpath_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (str_eq(paths[i].name, name))
			return 1;
	return 0;
}

int netpath_open(const char *name, int ipv6, struct netpath *ret, struct fault *reterr)
{
	*ret = (struct netpath){.ns = {-1, -1}};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (str_eq(paths[i].name, name))
			return paths[i].open(ipv6, ret, reterr);
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

void netpath_device(const struct netpath *path, int side, struct lg_device *ret)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct rtnl_link link;
	struct ifreq ifr = {};

	str_copy(ret->name, path->device[side]);
	str_copy(ifr.ifr_name, path->device[side]);
	if (rtnl_link_get(path->device[side], &link) == 0) {
		ret->mtu = link.mtu;
		str_copy(ret->qdisc, link.qdisc);
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
