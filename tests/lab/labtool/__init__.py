"""The soft-RoCE lab: guests with RDMA devices on a machine that has none (docs/rdma.md)."""
