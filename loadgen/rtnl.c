/* SPDX-License-Identifier: MIT */
/* rtnetlink requests by libmnl. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include "macro.h"
#include "rtnl.h"

#define BUFFER 8192

DEFINE_CLEANUP(struct mnl_socket *, mnl_socket_close)

/* Sends a request and runs cb over the replies up to the acknowledgement. */
static int call(struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	_cleanup_(mnl_socket_closep) struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	uint8_t buf[BUFFER];
	ssize_t n;
	int r = MNL_CB_OK;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (r > MNL_CB_STOP) {
		do {
			n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), cb, data);
	}
	return r < 0 ? -errno : 0;
}

static struct nlmsghdr *link_request(void *buf, uint16_t type, const char *name)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = type;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return nlh;
}

int rtnl_veth_add(const char *name, const char *peer, int peer_ns)
{
	uint8_t buf[BUFFER] = {};
	struct nlmsghdr *nlh = link_request(buf, RTM_NEWLINK, name);
	struct nlattr *info, *data, *end;

	nlh->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	end = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, peer);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)peer_ns);
	mnl_attr_nest_end(nlh, end);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return call(nlh, NULL, NULL);
}

int rtnl_link_up(const char *name)
{
	uint8_t buf[BUFFER] = {};
	struct nlmsghdr *nlh = link_request(buf, RTM_NEWLINK, name);
	struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

	ifi->ifi_change = IFF_UP;
	ifi->ifi_flags = IFF_UP;
	return call(nlh, NULL, NULL);
}

int rtnl_address_add(const char *name, int family, const void *addr, size_t len, uint8_t prefix)
{
	uint8_t buf[BUFFER] = {};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *ifa;

	nlh->nlmsg_type = RTM_NEWADDR;
	nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	ifa->ifa_family = (uint8_t)family;
	ifa->ifa_prefixlen = prefix;
	ifa->ifa_index = if_nametoindex(name);
	ifa->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
	mnl_attr_put(nlh, IFA_LOCAL, len, addr);
	mnl_attr_put(nlh, IFA_ADDRESS, len, addr);
	return call(nlh, NULL, NULL);
}

static int info_attr(const struct nlattr *attr, void *data)
{
	struct rtnl_link *link = data;

	if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		str_copy(link->kind, mnl_attr_get_str(attr));
	return MNL_CB_OK;
}

static int link_attr(const struct nlattr *attr, void *data)
{
	struct rtnl_link *link = data;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_MTU:
		link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_OPERSTATE:
		link->operstate = mnl_attr_get_u8(attr);
		break;
	case IFLA_QDISC:
		str_copy(link->qdisc, mnl_attr_get_str(attr));
		break;
	case IFLA_LINKINFO:
		return mnl_attr_parse_nested(attr, info_attr, link);
	}
	return MNL_CB_OK;
}

static int link_reply(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct rtnl_link *link = data;

	link->ifindex = (uint32_t)ifi->ifi_index;
	if (ifi->ifi_flags & IFF_LOOPBACK)
		str_copy(link->kind, "loopback");
	return mnl_attr_parse(nlh, sizeof(*ifi), link_attr, link);
}

int rtnl_link_get(const char *name, struct rtnl_link *ret)
{
	uint8_t buf[BUFFER] = {};
	struct nlmsghdr *nlh = link_request(buf, RTM_GETLINK, name);
	struct rtnl_link link = {};
	int r;

	r = call(nlh, link_reply, &link);
	if (r < 0)
		return r;
	*ret = link;
	return 0;
}

static int route_attr(const struct nlattr *attr, void *data)
{
	struct rtnl_route *route = data;
	uint16_t len = mnl_attr_get_payload_len(attr);

	switch (mnl_attr_get_type(attr)) {
	case RTA_OIF:
		route->ifindex = mnl_attr_get_u32(attr);
		break;
	case RTA_PREFSRC:
		memcpy(route->from, mnl_attr_get_payload(attr), MIN(len, sizeof(route->from)));
		break;
	}
	return MNL_CB_OK;
}

static int route_reply(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct rtmsg), route_attr, data);
}

int rtnl_route_get(int family, const void *addr, size_t len, struct rtnl_route *ret)
{
	uint8_t buf[BUFFER] = {};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtnl_route route = {};
	struct rtmsg *rtm;
	int r;

	nlh->nlmsg_type = RTM_GETROUTE;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = (uint8_t)family;
	rtm->rtm_dst_len = (uint8_t)(len * 8);
	mnl_attr_put(nlh, RTA_DST, len, addr);
	r = call(nlh, route_reply, &route);
	if (r < 0)
		return r;
	*ret = route;
	return 0;
}
