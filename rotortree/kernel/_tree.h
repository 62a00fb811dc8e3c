/* The tree: level arrays in memory, appended to in bulk or one by one, folded, and read for proofs.

   Only leaves and complete nodes are stored.  Levels are lists of segments; a segment holds whole
   groups, so that a group is never split, and the parents of a segment's groups are in one segment,
   too.  A segment is either Memory of the tree's own, or what was installed: a view of a mapped
   file, of which only the tail is ever copied, when the tree grows on.

   Functions that can fail return -1 and set an exception. */

#include <Python.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "_hashing.h"

enum {
    MAX_LEVELS = 64,           /* 2 ** 63 leaves of arity 2 */
    MAX_GROUP = 32,            /* children of a group that is one chunk */
    PENDING = 1 << 12,         /* leaves that wait until the nodes above them are worth hashing */
    PIECE_BYTES = 1 << 16,     /* of leaves, copied and then hashed while they are in the cache */
    RELEASE_BLOCKS = 1 << 14,  /* hashed with the GIL released, and in threads: 0.15 ms */
    MOST_JOBS = 64,            /* that are done before looking for signals */
    MOST_THREADS = 64,
    FIRST_NODES = 32,          /* room in a level's first segment; it doubles until it is whole */
    HUGE_PAGE = 1 << 21,
    PROOF_HEADER = 24,
    AHEAD = 8,                 /* proofs of a batch, whose nodes are prefetched */
    SMALL_LEVEL = 1 << 13,     /* nodes of a level that is in the cache anyway */
};

/* Memory that the tree writes and others may read through the buffer protocol. */
typedef struct {
    PyObject_HEAD
    uint8_t *bytes;
    size_t length, mapped; /* mapped: how much of the address space, 0 if it is from the heap */
} Memory;

/* Nodes that follow each other.  Only those in Memory of the tree's own are writable. */
typedef struct {
    PyObject *owner; /* has a buffer, in which they are */
    size_t offset;   /* from there on */
    uint8_t *nodes;
    size_t count;
    int writable;
} Segment;

typedef struct {
    Segment *segments;
    size_t count;
} Level;

/* The blocks of an edge group's message that only depend on all children but the last. */
typedef struct {
    uint64_t first; /* the group's first child */
    int k;
    uint32_t h[8];
} Prefix;

/* A number to divide by, and its logarithm if it is a power of two, or -1. */
typedef struct {
    uint64_t by;
    int shift;
} Divisor;

/* Leaves [0, size) are valid; so are the complete nodes above leaves [0, settled), settled <= size.
   The rest of them are made when somebody asks, or when they are PENDING.  What lies behind is
   written before the size that makes it valid.  While somebody who adds many leaves has let go of
   the GIL, settled == size; so those who read never have to wait. */
typedef struct {
    PyObject_HEAD
    PyObject *hasher, *one_leaf, *leaf_row, *no_room;
    PyTypeObject *memory, *encoded;
    PyThread_type_lock lock;
    int busy; /* somebody changes the tree */
    int n, max_depth, tagged, lanes, threads;
    unsigned long long capacity, size, settled;
    uint64_t reserved; /* up to this size there is room for leaves and nodes */
    Divisor arity, segment_nodes;
    Level levels[MAX_LEVELS];
    Prefix prefixes[MAX_LEVELS];
} Tree;

static Divisor divisor(uint64_t by)
{
    return (Divisor){by, by & (by - 1) ? -1 : __builtin_ctzll(by)};
}

static ALWAYS_INLINE uint64_t quotient(uint64_t value, Divisor divisor)
{
    return divisor.shift >= 0 ? value >> divisor.shift : value / divisor.by;
}

/* What the module keeps. */
typedef struct {
    PyTypeObject *memory, *encoded;
} State;

/* Memory. */

static void *map_memory(size_t length)
{
    uint8_t *start = mmap(NULL, length + HUGE_PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    const size_t before = -(uintptr_t)start % HUGE_PAGE;
    if (before != 0)
        munmap(start, before);
    if (before != HUGE_PAGE)
        munmap(start + before + length, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(start + before, length, MADV_HUGEPAGE); /* page faults would take longer than hashing */
#endif
    return start + before;
}

static PyObject *new_memory(PyTypeObject *type, size_t length)
{
    Memory *memory = (Memory *)PyType_GenericAlloc(type, 0);
    if (memory == NULL)
        return NULL;
    memory->length = length;
    if (length > HUGE_PAGE / 2)
        memory->mapped = (length + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    memory->bytes = memory->mapped ? map_memory(memory->mapped) : malloc(length);
    if (memory->bytes == NULL) {
        Py_DECREF(memory);
        return PyErr_NoMemory();
    }
    return (PyObject *)memory;
}

static void memory_dealloc(PyObject *object)
{
    Memory *self = (Memory *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->mapped && self->bytes != NULL)
        munmap(self->bytes, self->mapped);
    else
        free(self->bytes);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int memory_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    Memory *self = (Memory *)object;
    return PyBuffer_FillInfo(view, object, self->bytes, self->length, 1, flags);
}

/* Where nodes are. */

static ALWAYS_INLINE uint8_t *node_at(const Tree *tree, int level, uint64_t index)
{
    const uint64_t number = quotient(index, tree->segment_nodes);
    return tree->levels[level].segments[number].nodes +
           NODE * (index - number * tree->segment_nodes.by);
}

/* How many nodes of a level there are segments for. */
static uint64_t held_nodes(const Tree *tree, int level)
{
    const Level *nodes = tree->levels + level;
    return nodes->count == 0 ? 0
                             : (nodes->count - 1) * tree->segment_nodes.by +
                                   nodes->segments[nodes->count - 1].count;
}

/* How many nodes of a level are complete when there are so many leaves. */
static uint64_t complete_count(const Tree *tree, uint64_t size, int level)
{
    while (level-- > 0 && size > 0)
        size = quotient(size, tree->arity);
    return size;
}

static int depth(const Tree *tree, uint64_t size)
{
    int level = 0;
    for (uint64_t last = size ? size - 1 : 0; last > 0; last = quotient(last, tree->arity))
        level++;
    return level;
}

/* Let segment `number`, which exists or comes next, be this one. */
static int put_segment(Level *level, size_t number, Segment segment)
{
    if (number < level->count) {
        PyObject *old = level->segments[number].owner;
        level->segments[number] = segment;
        Py_DECREF(old); /* whoever holds a view of it goes on reading it */
        return 0;
    }
    if ((number & (number - 1)) == 0) { /* it is full when their number is a power of two */
        Segment *more = realloc(level->segments, (number ? 2 * number : 1) * sizeof segment);
        if (more == NULL) {
            Py_DECREF(segment.owner);
            PyErr_NoMemory();
            return -1;
        }
        level->segments = more;
    }
    level->segments[number] = segment;
    level->count = number + 1;
    return 0;
}

/* Let go of the segments from `number` on, of which no node is valid. */
static void drop_segments(Level *level, size_t number)
{
    while (level->count > number) {
        level->count--;
        Py_DECREF(level->segments[level->count].owner);
    }
}

/* Make room for `end` nodes in a segment, in memory of our own; its first `valid` ones are kept. */
static int reserve_segment(Tree *tree, Level *level, size_t number, size_t valid, size_t end)
{
    const Segment *old = number < level->count ? level->segments + number : NULL;
    if (old != NULL && old->writable && old->count >= end)
        return 0;
    size_t count = tree->segment_nodes.by;
    if (number == 0) {
        const size_t doubled = 2 * (old ? old->count : FIRST_NODES / 2);
        const size_t wanted = end > doubled ? end : doubled;
        count = wanted < count ? wanted : count;
    }
    PyObject *owner = new_memory(tree->memory, count * NODE);
    if (owner == NULL)
        return -1;
    const Segment new = {owner, 0, ((Memory *)owner)->bytes, count, 1};
    if (valid > 0)
        memcpy(new.nodes, old->nodes, valid * NODE);
    return put_segment(level, number, new);
}

/* Make room for nodes [start, stop) of a level; those before are kept. */
static int reserve_nodes(Tree *tree, int level, uint64_t start, uint64_t stop)
{
    while (start < stop) {
        const uint64_t number = quotient(start, tree->segment_nodes);
        const uint64_t first = number * tree->segment_nodes.by;
        const uint64_t left = stop - first;
        const size_t end = left < tree->segment_nodes.by ? left : tree->segment_nodes.by;
        if (reserve_segment(tree, tree->levels + level, number, start - first, end) != 0)
            return -1;
        start = first + end;
    }
    return 0;
}

/* Make room for whatever the leaves up to `size` need. */
static int reserve(Tree *tree, uint64_t size)
{
    uint64_t start = tree->size, stop = size, width = 1, reserved = UINT64_MAX;
    for (int level = 0; level < MAX_LEVELS; level++) {
        const uint64_t from = level == 0 ? start : complete_count(tree, tree->settled, level);
        if (reserve_nodes(tree, level, from, stop) != 0)
            return -1;
        const Level *nodes = tree->levels + level;
        const int writable = nodes->count > 0 && nodes->segments[nodes->count - 1].writable;
        const uint64_t room = writable ? held_nodes(tree, level) : stop;
        uint64_t most; /* one node more is complete at (room + 1) * width leaves */
        if (__builtin_mul_overflow(room + 1, width, &most))
            break;
        reserved = most - 1 < reserved ? most - 1 : reserved;
        if (__builtin_mul_overflow(width, tree->arity.by, &width))
            break;
        stop = quotient(stop, tree->arity);
    }
    tree->reserved = reserved;
    return 0;
}

/* Let go of the room that was made for leaves which are not to come. */
static void unreserve(Tree *tree)
{
    for (int level = 0; level < MAX_LEVELS; level++) {
        const uint64_t valid = complete_count(tree, tree->size, level);
        drop_segments(tree->levels + level,
                      quotient(valid + tree->segment_nodes.by - 1, tree->segment_nodes));
    }
    tree->reserved = 0;
}

/* Completing nodes. */

/* Copy leaves to where they belong, and hash groups, of which some may be there already. */
typedef struct {
    const uint8_t *leaves;
    uint8_t *to;
    size_t bytes;
    const uint8_t *groups;
    size_t count;
    uint8_t *parents;
} Job;

typedef struct {
    const Tree *tree;
    Job jobs[MOST_JOBS];
    size_t count, next;
} Work;

static void do_job(const Tree *tree, const Job *job)
{
    const size_t size = (size_t)NODE * tree->n;
    size_t copied = 0, hashed = 0;
    while (copied < job->bytes || hashed < job->count) {
        const size_t left = job->bytes - copied, piece = left < PIECE_BYTES ? left : PIECE_BYTES;
        if (piece > 0)
            memcpy(job->to + copied, job->leaves + copied, piece);
        copied += piece;
        const size_t ready =
            piece == left ? job->count : (size_t)(job->to + copied - job->groups) / size;
        if (ready > hashed)
            hash(job->groups + hashed * size, ready - hashed, tree->n, tree->tagged, tree->lanes,
                 job->parents + hashed * NODE);
        hashed = ready;
    }
}

static void *do_jobs(void *argument)
{
    Work *work = argument;
    size_t number;
    while ((number = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED)) < work->count)
        do_job(work->tree, work->jobs + number);
    return NULL;
}

/* In threads of our own: no pool that a fork could lose.  Signals are for Python's threads. */
static void do_jobs_in_threads(Work *work)
{
    pthread_t threads[MOST_THREADS];
    sigset_t all, before;
    int count = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (count + 1 < work->tree->threads && count + 1 < (int)work->count &&
           pthread_create(threads + count, NULL, do_jobs, work) == 0)
        count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    do_jobs(work);
    while (count-- > 0)
        pthread_join(threads[count], NULL);
}

/* Do the jobs; -1 and an exception set, if a signal handler raised. */
static int finish(Work *work)
{
    size_t bytes = 0;
    for (size_t i = 0; i < work->count; i++)
        bytes += work->jobs[i].bytes + work->jobs[i].count * work->tree->n * NODE;
    work->next = 0;
    if (bytes / BLOCK < RELEASE_BLOCKS) {
        do_jobs(work);
        work->count = 0;
        return 0;
    }
    PyThreadState *released = PyEval_SaveThread();
    do_jobs_in_threads(work);
    PyEval_RestoreThread(released);
    work->count = 0;
    return PyErr_CheckSignals();
}

/* The part of children [at, stop) that is in one segment, as a job; returns where it ends.  Of
   level 0, leaves from tree->size on are copied; the groups up to `complete` are hashed. */
static uint64_t add_job(Work *work, int level, uint64_t at, uint64_t stop, uint64_t complete,
                        const uint8_t *leaves)
{
    const Tree *tree = work->tree;
    const uint64_t behind = (quotient(at, tree->segment_nodes) + 1) * tree->segment_nodes.by;
    const uint64_t end = stop < behind ? stop : behind;
    const uint64_t last = complete < end ? complete : end;
    const uint64_t new = at > tree->size ? at : tree->size;
    Job job = {.groups = node_at(tree, level, at)};
    if (leaves != NULL && new < end) {
        job.leaves = leaves + (new - tree->size) * NODE;
        job.to = node_at(tree, level, new);
        job.bytes = (end - new) * NODE;
    }
    if (last > at) {
        job.count = quotient(last - at, tree->arity);
        job.parents = node_at(tree, level + 1, quotient(at, tree->arity));
    }
    work->jobs[work->count++] = job;
    return end;
}

/* Write leaves behind those that there are, if any are given, and the nodes that `size` leaves
   complete, for all of which there is room.  On failure what is valid is as before. */
static int complete_nodes(Tree *tree, const uint8_t *leaves, uint64_t size)
{
    Work work;
    work.tree = tree;
    work.count = 0;
    uint64_t start = quotient(tree->settled, tree->arity), stop = quotient(size, tree->arity);
    for (int level = 0; start < stop || leaves != NULL; level++) {
        const uint64_t complete = stop * tree->arity.by;
        const uint64_t end = leaves != NULL ? size : complete;
        for (uint64_t at = start * tree->arity.by; at < end;) {
            at = add_job(&work, level, at, end, complete, leaves);
            if ((work.count == MOST_JOBS || at == end) && finish(&work) != 0)
                return -1;
        }
        leaves = NULL;
        start = quotient(start, tree->arity);
        stop = quotient(stop, tree->arity);
    }
    tree->settled = size;
    return 0;
}

/* Complete what is pending: too little to let other threads run, or to be interrupted. */
static void settle(Tree *tree)
{
    if (tree->settled < tree->size)
        complete_nodes(tree, NULL, tree->size);
}

/* Write leaves behind those that there are, where there is room. */
static void put_leaves(Tree *tree, const uint8_t *leaves, uint64_t count)
{
    for (uint64_t at = tree->size; count > 0;) {
        const uint64_t room = tree->segment_nodes.by - at % tree->segment_nodes.by;
        const uint64_t some = count < room ? count : room;
        memcpy(node_at(tree, 0, at), leaves, some * NODE);
        leaves += some * NODE;
        at += some;
        count -= some;
    }
}

/* Append leaves, or change nothing.  The tree is entered. */
static int store(Tree *tree, const uint8_t *leaves, uint64_t count)
{
    if (count > tree->capacity - tree->size) {
        PyObject *result = PyObject_CallFunction(tree->no_room, "KK", tree->size,
                                                 (unsigned long long)count);
        if (result != NULL)
            PyErr_SetString(PyExc_SystemError, "there is no room");
        Py_XDECREF(result);
        return -1;
    }
    const uint64_t size = tree->size + count;
    if (size > tree->reserved && reserve(tree, size) != 0) {
        unreserve(tree);
        return -1;
    }
    if (count < PENDING) {
        put_leaves(tree, leaves, count);
        tree->size = size;
        if (size - tree->settled >= PENDING)
            settle(tree);
        return 0;
    }
    settle(tree);
    PyThread_acquire_lock(tree->lock, 1); /* at most, somebody looks whether it is free */
    const int failed = complete_nodes(tree, leaves, size);
    PyThread_release_lock(tree->lock);
    if (failed == 0)
        tree->size = size;
    else
        unreserve(tree);
    return failed;
}

/* Of each level up to the root's, the node that `size` leaves leave incomplete, or zeros; returns
   whether the root is one of them.  All that is complete is settled. */
static int fold(Tree *tree, uint64_t size, uint8_t *rows)
{
    uint64_t complete = size;
    int has = 0, level = 0;
    memset(rows, 0, NODE);
    for (uint64_t last = size ? size - 1 : 0; last > 0; last = quotient(last, tree->arity)) {
        const uint64_t up = quotient(complete, tree->arity), first = up * tree->arity.by;
        const int count = complete - first, k = count + has;
        uint8_t *row = rows + NODE * level, *parent = row + NODE;
        const uint8_t *children = count ? node_at(tree, level, first) : NULL;
        if (k < 2) {
            if (k == 0)
                memset(parent, 0, NODE);
            else /* a lone child is lifted */
                memcpy(parent, has ? row : children, NODE);
        } else {
            const uint8_t *last_child = has ? row : children + (count - 1) * NODE;
            const Group group = {children, last_child, k, k - 1, tree->tagged};
            const int fixed = (message_bytes(group) - NODE) / BLOCK;
            Prefix *prefix = tree->prefixes + level;
            if (prefix->first != first || prefix->k != k) {
                *prefix = (Prefix){.first = first, .k = k};
                compress_blocks(IV, group, 0, fixed, tree->lanes, (uint8_t *)prefix->h);
            }
            compress_blocks(prefix->h, group, fixed, message_blocks(group), tree->lanes, parent);
        }
        has = k > 0;
        complete = up;
        level++;
    }
    return has;
}

static void root_of(Tree *tree, uint64_t size, uint8_t *root)
{
    uint8_t rows[(MAX_LEVELS + 1) * NODE];
    const int top = depth(tree, size);
    if (size == 0)
        memset(root, 0, NODE);
    else
        memcpy(root, fold(tree, size, rows) ? rows + top * NODE : node_at(tree, top, 0), NODE);
}

/* Proofs. */

/* How many nodes a group has: one that has a parent, in a level whose last node is `last`. */
static ALWAYS_INLINE uint64_t group_length(Divisor arity, uint64_t parent, uint64_t last)
{
    return parent < quotient(last, arity) ? arity.by : last + 1 - parent * arity.by;
}

/* How many bytes of siblings there are on the way from a leaf to the root. */
static size_t siblings_bytes(Divisor arity, uint64_t size, uint64_t index)
{
    size_t nodes = 0;
    for (uint64_t last = size - 1; last > 0; last = quotient(last, arity)) {
        index = quotient(index, arity);
        nodes += group_length(arity, index, last) - 1;
    }
    return nodes * NODE;
}

/* The siblings on the way from a leaf to the root, lowest first; returns where they end.  `rows` is
   what fold() made for this size.  Nothing branches on where in its group a node is. */
static uint8_t *gather(const Tree *tree, uint64_t size, const uint8_t *rows, uint64_t index,
                       uint8_t *out)
{
    uint64_t complete = size, last = size - 1;
    for (int level = 0; last > 0; level++) {
        const uint64_t parent = quotient(index, tree->arity), start = parent * tree->arity.by;
        const uint64_t own = index - start, length = group_length(tree->arity, parent, last);
        const int at_edge = start + length > complete; /* its last node is in `rows` */
        const uint64_t stored = length - at_edge, siblings = stored - (own < stored);
        if (siblings > 0) {
            const uint8_t *group = node_at(tree, level, start);
            for (uint64_t i = 0; i < siblings; i++)
                memcpy(out + i * NODE, group + (i + (i >= own)) * NODE, NODE);
            out += siblings * NODE;
        }
        if (at_edge && own < stored) {
            memcpy(out, rows + level * NODE, NODE);
            out += NODE;
        }
        index = parent;
        last = quotient(last, tree->arity);
        complete = quotient(complete, tree->arity);
    }
    return out;
}

/* Have the groups on the way up in the cache soon, up to where levels are small. */
static void prefetch_groups(const Tree *tree, uint64_t index)
{
    uint64_t complete = tree->size;
    for (int level = 0; complete > SMALL_LEVEL; level++) {
        index = quotient(index, tree->arity);
        const uint64_t start = index * tree->arity.by;
        if (start >= complete)
            break;
        const uint8_t *group = node_at(tree, level, start);
        for (int at = 0; at < tree->n * NODE; at += BLOCK)
            __builtin_prefetch(group + at);
        complete = quotient(complete, tree->arity);
    }
}

/* The bytes in front of a proof's hashes.  See proof.py. */
static void put_proof_header(uint8_t *out, int n, uint64_t size, uint64_t index)
{
    const uint8_t start[8] = {'R', 'T', 'I', 'P', 1, (uint8_t)n};
    memcpy(out, start, 8);
    memcpy(out + 8, &size, 8);
    memcpy(out + 16, &index, 8);
}

/* The encoded proof of a leaf; returns where it ends. */
static uint8_t *put_proof(const Tree *tree, uint64_t size, const uint8_t *rows, uint64_t index,
                          uint8_t *out)
{
    put_proof_header(out, tree->n, size, index);
    return gather(tree, size, rows, index, out + PROOF_HEADER);
}
