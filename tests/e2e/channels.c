// SPDX-License-Identifier: GPL-2.0-or-later
/* channels INTERFACE N: how many pairs of queues a network card uses, as "ethtool -L INTERFACE combined N"; says what it then has. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct ethtool_channels c = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq r = {.ifr_data = (void *)&c};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3 || strlen(argv[1]) >= sizeof(r.ifr_name) || fd < 0)
		return 2;
	memcpy(r.ifr_name, argv[1], strlen(argv[1]));
	if (ioctl(fd, SIOCETHTOOL, &r)) {
		perror("channels: get");
		return 1;
	}
	c.cmd = ETHTOOL_SCHANNELS;
	c.combined_count = (unsigned)atoi(argv[2]);
	if (ioctl(fd, SIOCETHTOOL, &r)) {
		perror("channels: set");
		return 1;
	}
	c.cmd = ETHTOOL_GCHANNELS;
	if (ioctl(fd, SIOCETHTOOL, &r)) {
		perror("channels: get");
		return 1;
	}
	printf("CHANNELS %u of %u\n", c.combined_count, c.max_combined);
	return 0;
}
