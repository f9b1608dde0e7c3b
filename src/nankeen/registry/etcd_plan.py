"""What to write to etcd, decided from what was read: pure, and carried out only where nobody has come between.

A plan that takes a subnet nobody held compares the whole directory of subnets: none may have been made since it was
read. That excludes overlap, not only the same key, and also between our nodes and flannel's, which know of no guard
key. Renewals of others are no obstacle: they make no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import InputError, LeaseError
from nankeen.model.lease import Lease, Reach
from nankeen.model.leasevalue import encode, key
from nankeen.registry.allocation import Taken, spans_of_keys
from nankeen.registry.choice import endpoints, readable_key, words
from nankeen.registry.etcd_layout import KEPT, Contents
from nankeen.registry.etcd_transaction import Own, Plan, Put, earlier
from nankeen.registry.etcd_view import holder, parse_config
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

MOST_OWN = 16
"""Keys that a node can have: a transaction takes 128 operations, and each may need several."""


def acquisition(
    contents: Contents, wanted: Lease, reaches: Sequence[Reach], previous: Sequence[IPNetwork], where: str
) -> Plan:
    """The lease that is wanted, on the subnets it gets. Raises `ConfigError` and `LeaseError`."""
    config = parse_config(contents.config)
    owned = _owned(contents, wanted.node, reaches)
    own = [subnet for item in owned if item.is_leased for subnet in item.subnets]
    kept = [subnet for item in owned if item.is_kept for subnet in item.subnets]
    taken = _taken(contents, owned)
    chosen = endpoints(config.pools, wanted.node, reaches, (*own, *kept, *previous), taken, where)
    lease = replace(wanted, endpoints=chosen)
    name = key(lease.subnets)
    here = [item for item in owned if item.key == name]
    former = [item for item in owned if item.is_leased and item.key != name]
    put = Put(name, encode(lease).encode(), lease.node, is_kept=set(lease.subnets) <= set(kept))
    if not former and _stands(contents, put):
        return Plan(lease=lease)
    return Plan(
        puts=(put, *(_kept(item, lease.node) for item in former if item.is_kept)),
        deletes=tuple(item.key for item in former if not item.is_kept),
        basis=tuple(owned),
        config=contents.config,
        newest=None if here else contents.revision,
        lease=lease,
        etcd_lease=here[0].item.lease if here else 0,
    )


def _stands(contents: Contents, put: Put) -> bool:
    """Whether a reservation reads so already: it needs no renewal, so there is nothing to write."""
    item, note = contents.subnets.get(put.key), contents.note(put.key)
    is_same = item is not None and item.lease == 0 and item.value == put.value
    return put.is_kept and is_same and note is not None and note.node == put.node


def renewal(contents: Contents, lease: Lease, where: str) -> Plan:
    """The same lease, to expire later. Raises `LeaseError` where it is not the node's any more."""
    own = _standing(contents, lease)
    if own is None or not own.is_leased:
        raise LeaseError(
            f"the lease of {lease.node} on {words(lease.subnets)} is lost", where=where, remedy="acquire one anew"
        )
    value = encode(lease).encode()
    if own.is_kept and own.item.value == value:
        return Plan(lease=lease)
    return Plan((Put(own.key, value, lease.node, own.is_kept),), basis=(own,), lease=lease)


def release(contents: Contents, lease: Lease) -> Plan:
    """Nothing of the lease; a reservation outlives the lease that made use of it."""
    own = _standing(contents, lease)
    if own is None or not own.is_leased:
        return Plan()
    if own.is_kept:
        return Plan((_kept(own, lease.node),), basis=(own,))
    return Plan(deletes=(own.key,), basis=(own,))


def reservation(contents: Contents, node: str, subnets: Sequence[IPNetwork], where: str) -> Plan:
    """These subnets kept for the node, and no others. Raises `LeaseError` where another holds one of them."""
    if len({subnet.version for subnet in subnets}) < len(subnets):
        raise InputError(f"{words(subnets)} are not one subnet for each family", remedy="name one of each at most")
    owned = _owned(contents, node)
    _check_free(contents, owned, node, subnets, where)
    name = key(subnets)
    again = [own for own in owned if own.is_leased and own.is_kept != set(own.subnets).issubset(subnets)]
    ended = [own for own in owned if not own.is_leased and own.key != name]
    is_new = bool(subnets) and all(own.key != name for own in owned)
    puts = [Put(own.key, own.item.value, node, is_kept=not own.is_kept) for own in again]
    return Plan(
        puts=(*puts, Put(name, KEPT, node, is_kept=True)) if is_new else tuple(puts),
        deletes=tuple(own.key for own in ended),
        basis=tuple(owned),
        newest=contents.revision if is_new else None,
    )


def configuration(contents: Contents, text: str) -> rpc.TxnRequest:
    """Another configuration, where nobody has written anything meanwhile."""
    layout = contents.layout
    first, end = layout.everything
    nobody = earlier(rpc.Compare.MOD, first, end, contents.revision)
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=layout.config, value=text.encode()))
    return rpc.TxnRequest(compare=[nobody], success=[put])


def is_same(before: Contents, after: Contents) -> bool:
    """Whether, but for the leases' expiry, both are the same."""
    return _lasting(before) == _lasting(after)


def _lasting(contents: Contents) -> tuple[bytes | None, dict[str, tuple[bytes, bool, str | None]]]:
    subnets = {name: (item.value, item.lease == 0, holder(contents, name)) for name, item in contents.subnets.items()}
    return contents.config.value if contents.config else None, subnets


def _owned(contents: Contents, node: str, reaches: Sequence[Reach] = ()) -> list[Own]:
    """What is the node's, oldest first: by a note, or, where nobody is named, by its public address.

    Of more than `MOST_OWN`, which no node has by itself, the others are as good as somebody else's.
    """
    addresses = {str(reach.address) for reach in reaches}
    marks = [f'"{address}"'.encode() for address in addresses]
    found = []
    for name, item in contents.subnets.items():
        note = contents.note(name)
        if note is not None:
            is_ours = note.node == node
        else:
            is_ours = any(mark in item.value for mark in marks) and holder(contents, name) in addresses
        if is_ours and readable_key(name):
            found.append(Own(name, item))
    return sorted(found, key=lambda own: own.item.created)[:MOST_OWN]


def _standing(contents: Contents, lease: Lease) -> Own | None:
    """The node's own key of that lease."""
    name = key(lease.subnets)
    note = contents.note(name)
    return Own(name, contents.subnets[name]) if note is not None and note.node == lease.node else None


def _taken(contents: Contents, owned: Iterable[Own]) -> dict[Family, Taken]:
    """What all others hold."""
    others = contents.subnets.keys() - {own.key for own in owned}
    return {family: Taken(spans=spans) for family, spans in spans_of_keys(others).items()}


def _check_free(contents: Contents, owned: Iterable[Own], node: str, subnets: Iterable[IPNetwork], where: str) -> None:
    taken = _taken(contents, owned)
    for subnet in subnets:
        if not taken[family_of(subnet)].overlaps(subnet):
            continue
        others = contents.subnets.keys() - {own.key for own in owned}
        held = next(name for name in others if any(subnet.overlaps(other) for other in readable_key(name)))
        raise LeaseError(
            f"{subnet} cannot be kept for {node}: {holder(contents, held)} holds {words(readable_key(held))}",
            where=where,
            remedy="choose another subnet, or release that one",
        )


def _kept(own: Own, node: str) -> Put:
    """The key as a reservation that waits."""
    return Put(own.key, KEPT, node, is_kept=True)
