/* Verifying proofs: computing roots from leaves and the hashes of proofs, without a tree.

   The twins in Python are path_roots(), leads_to() and boundary_nodes() in _portable.py.  A proof
   may come from an attacker.  The shape is trusted: arity, sizes and indices fit each other. */

#include "_tree.h"

enum {
    MOST_PATHS = 32, /* that are computed together: two sets of lanes */
};

/* Many paths. */

/* A node on the path from a leaf to the root, and the hashes of the proof that are not used yet. */
typedef struct {
    uint8_t node[NODE];
    const uint8_t *hashes, *end;
    uint64_t own;
} Path;

/* Assemble the group of a path's node, and go on to its parent; returns the number of children, or
   0 if the proof has too few hashes. */
static int put_group(Path *path, Divisor arity, uint64_t last, uint8_t *group)
{
    const uint64_t parent = quotient(path->own, arity);
    const int k = (int)group_length(arity, parent, last);
    const size_t place = path->own - parent * arity.by, siblings = (size_t)(k - 1) * NODE;
    if ((size_t)(path->end - path->hashes) < siblings)
        return 0;
    for (uint64_t i = 0; i + 1 < (uint64_t)k; i++)
        memcpy(group + (i + (i >= place)) * NODE, path->hashes + i * NODE, NODE);
    memcpy(group + place * NODE, path->node, NODE);
    path->hashes += siblings;
    path->own = parent;
    return k;
}

/* Compute the roots of many paths, level by level, hashing all whole groups of a level at once.
   Returns -1 if a proof has too few or too many hashes. */
static int climb(Path *paths, int count, int n, uint64_t size, int tagged, int lanes)
{
    uint8_t groups[MOST_PATHS * MAX_GROUP * NODE], parents[MOST_PATHS * NODE];
    Path *whole[MOST_PATHS];
    const Divisor arity = divisor(n);
    for (uint64_t last = size - 1; last > 0; last = quotient(last, arity)) {
        int found = 0;
        for (int i = 0; i < count; i++) {
            uint8_t *group = groups + (size_t)found * n * NODE;
            const int k = put_group(paths + i, arity, last, group);
            if (k == 0)
                return -1;
            if (k == n)
                whole[found++] = paths + i;
            else if (k > 1)
                hash_one(group, k, tagged, lanes, paths[i].node);
        }
        if (found > 0)
            hash(groups, found, n, tagged, lanes, parents);
        for (int i = 0; i < found; i++)
            memcpy(whole[i]->node, parents + i * NODE, NODE);
    }
    for (int i = 0; i < count; i++)
        if (paths[i].hashes != paths[i].end)
            return -1;
    return 0;
}

/* Two chains of blocks. */

/* A group that is being hashed: blocks [next, stop) of its message are still to be mixed into the
   chaining value h. */
typedef struct {
    Group group;
    int next, stop;
    uint32_t h[8];
} Chain;

#ifdef __x86_64__
/* Mix in blocks of both chains, side by side, until one chain has no more. */
static ALONE void compress_pair_rows(Chain *a, Chain *b)
{
    vector_8 rows[2];
    load_rows(rows, a->h, b->h);
    for (; a->next < a->stop && b->next < b->stop; a->next++, b->next++)
        mix_blocks(rows, a->group, a->next, b->group, b->next);
    store_rows(rows, a->h, b->h);
}
#endif

static void compress_chain(Chain *chain, long lanes)
{
    if (chain->next < chain->stop)
        compress_blocks(chain->h, chain->group, chain->next, chain->stop, lanes,
                        (uint8_t *)chain->h);
    chain->next = chain->stop;
}

/* Mix in all blocks of two chains.  Side by side, two chains take no longer than one. */
static void compress_chains(Chain *a, Chain *b, long lanes)
{
#ifdef __x86_64__
    if (lanes == 16 && a->next < a->stop && b->next < b->stop)
        compress_pair_rows(a, b);
#endif
    compress_chain(a, lanes);
    compress_chain(b, lanes);
}

/* One path. */

/* Find the next group of a path that has more than one member, and start its chain with the blocks
   that come before the path's node.  Returns 1, 0 if there is no such group, or -1 if the proof has
   too few hashes. */
static int next_group(Path *path, Divisor arity, uint64_t *last, int tagged, Chain *chain)
{
    chain->next = chain->stop = 0;
    for (; *last > 0; *last = quotient(*last, arity)) {
        const uint64_t parent = quotient(path->own, arity);
        const int place = (int)(path->own - parent * arity.by);
        const int k = (int)group_length(arity, parent, *last);
        path->own = parent;
        if (k == 1)
            continue;
        if (path->end - path->hashes < (k - 1) * NODE)
            return -1;
        chain->group = (Group){path->hashes, NULL, k, place, tagged};
        chain->stop = place / 2;
        memcpy(chain->h, IV, sizeof IV);
        path->hashes += (k - 1) * NODE;
        *last = quotient(*last, arity);
        return 1;
    }
    return 0;
}

/* Compute the root of one path, and store it in path->node; -1 if the number of hashes is wrong.
   Two chains run side by side: this group from the path's node on, and the next group up to the
   path's node, which does not depend on this group. */
static int climb_alone(Path *path, int n, uint64_t size, int tagged, long lanes)
{
    const Divisor arity = divisor(n);
    Chain chains[3]; /* of the groups below, here and above; the group below holds `node` */
    uint64_t last = size - 1;
    const uint8_t *node = path->node;
    int found = next_group(path, arity, &last, tagged, chains);
    compress_chain(chains, lanes);
    for (int level = 0; found > 0; level++) {
        Chain *here = chains + level % 3, *above = chains + (level + 1) % 3;
        found = next_group(path, arity, &last, tagged, above);
        here->group.apart = node;
        here->stop = message_blocks(here->group);
        compress_chains(here, above, lanes);
        node = (uint8_t *)here->h;
    }
    if (found < 0 || path->hashes != path->end)
        return -1;
    memmove(path->node, node, NODE);
    return 0;
}

/* The boundary between the old and the new leaves of a tree. */

/* Start the chain of a group; a lone child is lifted. */
static void start_chain(Chain *chain, Group group)
{
    chain->group = group;
    chain->next = 0;
    chain->stop = group.k > 1 ? message_blocks(group) : 0;
    memcpy(chain->h, group.k > 1 ? (uint8_t *)IV : child(group, 0), NODE);
}

/* For each group along the boundary, write its parent in the old tree and in the new one.  Returns
   the number of bytes written, or -1 if the number of hashes is wrong.
   Requires 0 < old_size < size. */
static int climb_boundary(const uint8_t *hashes, const uint8_t *end, int n, uint64_t old_size,
                          uint64_t size, int tagged, long lanes, uint8_t *nodes)
{
    const Divisor arity = divisor(n);
    uint64_t own = old_size;
    int length = 0;
    for (uint64_t last = size - 1; last > 0; last = quotient(last, arity)) {
        const uint64_t parent = quotient(own, arity);
        const int before = (int)(own - parent * arity.by), straddles = length > 0;
        own = parent;
        if (before == 0 && !straddles)
            continue;
        const int k = (int)group_length(arity, parent, last), siblings = k - straddles;
        if (end - hashes < siblings * NODE)
            return -1;
        const int place = straddles ? before : k;
        const uint8_t *below = nodes + (straddles ? length - 2 * NODE : 0);
        uint8_t *old = nodes + length;
        Chain chains[2];
        start_chain(chains, (Group){hashes, below, before + straddles, place, tagged});
        start_chain(chains + 1, (Group){hashes, below + NODE, k, place, tagged});
        compress_chains(chains, chains + 1, lanes);
        memcpy(old, chains[0].h, NODE);
        memcpy(old + NODE, chains[1].h, NODE);
        hashes += siblings * NODE;
        length += 2 * NODE;
    }
    return hashes == end ? length : -1;
}
