/* SPDX-License-Identifier: Apache-2.0 */
/* Who this host is towards a target: host NQN and host identifier. What the user gave wins; then /etc/nvme/hostnqn and
 * /etc/nvme/hostid (nvme-cli's files); else both are derived from the machine's identity, so that they are the same next
 * time without anything being written. One identifier never goes with two NQNs (targets refuse that). */
#ifndef NVOFS_TRANSPORT_IDENTITY_H
#define NVOFS_TRANSPORT_IDENTITY_H

#include "transport/addr.h"

/* Fills hostnqn and hostid where they are missing. root stands before the paths ("" for the real ones). 0, or -EINVAL with
 * one line in why when a file of nvme-cli is there and makes no sense. */
int identity_fill(struct ns_addr *, const char *root, char *why, size_t why_len);

#endif
