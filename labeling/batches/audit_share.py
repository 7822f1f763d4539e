"""How large the audit of a batch is while there are too few audit labels for a verdict."""

from dataclasses import replace

from labeling.batches.select import SelectionConfig, share_of


def raise_audit_share(config: SelectionConfig, *, missing: int, pool_size: int) -> SelectionConfig:
    """The selection with an audit that covers the `missing` audit labels, as far as half a batch.

    `pool_size` counts all that may be asked about. The other half stays for samples to train on,
    and places of `named` and `quotas` stay theirs. An audit_share of 0 stays 0: such a round leaves
    the audit to other rounds.
    """
    size = min(config.size, pool_size)
    others = len(config.named) + sum(config.quotas.values())
    audit = min(missing, size // 2, size - others)
    if not config.audit_share or audit <= share_of(size, config.audit_share):
        return config
    return replace(config, audit_share=audit / size)


def audit_places(config: SelectionConfig, *, pool_size: int, unasked: int) -> int:
    """How many audit samples a batch has, out of `unasked`; beside an empty pool it has no others.

    An audit that is exhausted leaves its places to the strategy.
    """
    if not config.audit_share:
        return 0
    size = min(config.size, pool_size + unasked)
    wanted = share_of(size, config.audit_share) if pool_size else size
    return min(wanted, unasked)
