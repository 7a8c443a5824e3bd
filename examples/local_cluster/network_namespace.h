// Network namespaces of this process alone, each held by a descriptor and nothing else: no name, no
// file, no process. When the last descriptor and the last program in it are gone, the kernel takes
// the namespace away with the interfaces in it, also after kill -9 of the owner (whose children die
// with it, see ChildProcess).
//
// Whoever is not root makes them inside a user namespace of its own, where the kernel allows that.
//
// Nothing here changes the calling thread: what must run inside a namespace runs in a child.
#pragma once

#include <vector>

#include "descriptor.h"
#include "godwit/error.h"

namespace godwit::local_cluster {

/// Namespaces in the order in which a child enters them (setns): the user namespace first, if any.
/// Borrowed descriptors. Empty: those of this process.
using NamespaceList = std::vector<int>;

/// A user namespace in which this user is root. Errors: not_supported.
Result<Descriptor> make_user_namespace();
/// A network namespace that forwards packets between its interfaces if told so, in the user
/// namespace that is given (-1: this process's). Errors: not_supported.
Result<Descriptor> make_network_namespace(int user_namespace, bool forwards);

/// A socket of these namespaces, which it keeps for its life, whoever uses it. Non-blocking, IPv4.
/// `type` is SOCK_STREAM or SOCK_DGRAM. Errors: system.
Result<Descriptor> open_socket_in(const NamespaceList& namespaces, int type);

}  // namespace godwit::local_cluster
