// An invocation's place in its workgroup, and with SUBGROUPS in its subgroup, whose size nobody has to know.
struct Lane {
  @builtin(local_invocation_index) index: u32,
#ifdef SUBGROUPS
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
#endif
}
