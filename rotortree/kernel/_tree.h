/* The tree: level arrays in memory, appended to in bulk or one by one, folded, and read for proofs.

   Only leaves and complete nodes are stored.  A level is a list of segments.  A segment holds whole
   groups, so that no group is split, and the parents of a segment's groups are in one segment, too.
   A segment is either Memory that the tree allocated, or was installed: then it is a view of a
   mapped file.  When the tree grows into the last, partial segment of a file, it copies that one.

   Some functions are the fast twins of those in rotortree/tree/reading.py, which say what they
   compute and why: fold() of edge(), root_of() of root(), gather() of inclusion_hashes().

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
    PENDING = 1 << 12,         /* so many leaves wait before the nodes above are hashed */
    PIECE_BYTES = 1 << 16,     /* of leaves that are copied, then hashed while in the cache */
    RELEASE_BLOCKS = 1 << 14,  /* from so many on, hash in threads, without the GIL: 0.15 ms */
    MOST_JOBS = 64,            /* between two checks for signals */
    MOST_THREADS = 64,
    FIRST_NODES = 32,          /* room in a level's first segment at first; it doubles */
    HUGE_PAGE = 1 << 21,
    PROOF_HEADER = 24,
    AHEAD = 8,                 /* proofs of a batch for which nodes are prefetched */
    SMALL_LEVEL = 1 << 13,     /* a level of so few nodes is in the cache anyway */
};

/* Memory that the tree writes, and that Python code may read through the buffer protocol. */
typedef struct {
    PyObject_HEAD
    uint8_t *bytes;
    size_t length, mapped; /* mapped: bytes from mmap(), 0 if the memory is from malloc() */
} Memory;

/* Consecutive nodes of a level.  They are writable only if the tree allocated the memory. */
typedef struct {
    PyObject *owner; /* the object whose buffer holds the nodes */
    size_t offset;   /* of the first node in that buffer, in bytes */
    uint8_t *nodes;
    size_t count;
    int writable;
} Segment;

typedef struct {
    Segment *segments;
    size_t count;
} Level;

/* A partial hash of a group at the right edge: of the blocks without its last child, which is the
   only one that changes from one append to the next. */
typedef struct {
    uint64_t first; /* the group's first child */
    int k;
    uint32_t h[8];
} Prefix;

/* A divisor, and its binary logarithm if it is a power of two, else -1. */
typedef struct {
    uint64_t by;
    int shift;
} Divisor;

/* Leaves [0, size) are valid, and so are the complete nodes above leaves [0, settled), where
   settled <= size.  The complete nodes above the other leaves are hashed when a call reads them, or
   when PENDING leaves wait.  Nodes beyond the size may be written, but are not valid yet: a writer
   publishes the size last.  While a thread that adds many leaves runs without the GIL, settled ==
   size holds, so that readers never have to hash, and never wait. */
typedef struct {
    PyObject_HEAD
    PyObject *hasher, *one_leaf, *leaf_row, *no_room;
    PyTypeObject *memory, *encoded;
    PyThread_type_lock lock;
    int busy; /* a thread is changing the tree */
    int n, max_depth, tagged, lanes, threads;
    unsigned long long capacity, size, settled;
    uint64_t reserved; /* a size in leaves up to which all levels have room */
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

/* The state of the module. */
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

/* The number of nodes that the segments of a level have room for. */
static uint64_t held_nodes(const Tree *tree, int level)
{
    const Level *nodes = tree->levels + level;
    return nodes->count == 0 ? 0
                             : (nodes->count - 1) * tree->segment_nodes.by +
                                   nodes->segments[nodes->count - 1].count;
}

/* The number of nodes of a level that are complete at `size` leaves. */
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

/* Replace segment `number`, or add it if it is the next one.  Takes over the reference. */
static int put_segment(Level *level, size_t number, Segment segment)
{
    if (number < level->count) {
        PyObject *old = level->segments[number].owner;
        level->segments[number] = segment;
        Py_DECREF(old); /* a reader that holds a view of it goes on reading it */
        return 0;
    }
    if ((number & (number - 1)) == 0) { /* the array is full at every power of two */
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

/* Remove the segments from `number` on.  Requires that none of their nodes is valid. */
static void drop_segments(Level *level, size_t number)
{
    while (level->count > number) {
        level->count--;
        Py_DECREF(level->segments[level->count].owner);
    }
}

/* Make room for `end` nodes in a segment that the tree can write; keep its first `valid` nodes. */
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

/* Make room for nodes [start, stop) of a level; keep the nodes before them. */
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

/* Make room for the leaves up to `size`, and for the nodes that are complete then. */
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
        uint64_t most; /* the next node would be complete at (room + 1) * width leaves */
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

/* Free the room that was made for leaves that were then not appended. */
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

/* Work for one thread: copy leaves to level 0, if there are any, and then hash groups, of which
   some members may have been stored before. */
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

/* Do jobs in new threads: a pool of threads would be lost in a forked child.  The new threads block
   signals, so that Python's own threads receive them. */
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

/* Do all jobs; -1 and an exception set if a signal handler raised. */
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

/* Add a job for the part of children [at, stop) that lies in the segment of `at`; returns the end
   of that part.  The job hashes the groups up to `complete`.  On level 0 it first copies the leaves
   from tree->size on. */
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

/* Write new leaves, unless `leaves` is NULL, and hash the nodes that are complete at `size` leaves.
   On failure the valid nodes are the same as before.  Requires that there is room. */
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

/* Hash the nodes that wait.  They are so few that this neither releases the GIL nor handles
   signals. */
static void settle(Tree *tree)
{
    if (tree->settled < tree->size)
        complete_nodes(tree, NULL, tree->size);
}

/* Write new leaves after the existing ones.  Requires that there is room. */
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

/* Append leaves, or change nothing.  Requires that the caller entered the tree. */
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
    PyThread_acquire_lock(tree->lock, 1); /* others hold it for a moment at most, in enter() */
    const int failed = complete_nodes(tree, leaves, size);
    PyThread_release_lock(tree->lock);
    if (failed == 0)
        tree->size = size;
    else
        unreserve(tree);
    return failed;
}

/* Write the edge row of `size` leaves: for each level up to the root's, its incomplete node, or
   zeros.  Returns whether the root is incomplete.  The twin of edge() in reading.py.
   Requires that the nodes complete at `size` are hashed: settled >= size. */
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

/* Write the root of `size` leaves, or zeros for none.  The twin of root() in reading.py. */
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

/* The number of children of node `parent`, if `last` is the last node of the children's level. */
static ALWAYS_INLINE uint64_t group_length(Divisor arity, uint64_t parent, uint64_t last)
{
    return parent < quotient(last, arity) ? arity.by : last + 1 - parent * arity.by;
}

/* The length of the hashes of an inclusion proof, in bytes. */
static size_t siblings_bytes(Divisor arity, uint64_t size, uint64_t index)
{
    size_t nodes = 0;
    for (uint64_t last = size - 1; last > 0; last = quotient(last, arity)) {
        index = quotient(index, arity);
        nodes += group_length(arity, index, last) - 1;
    }
    return nodes * NODE;
}

/* Write the hashes of an inclusion proof; returns their end.  `rows` is the edge row of this size.
   The twin of inclusion_hashes() in reading.py.  No branch depends on the place of a node within
   its group, which no processor could predict. */
static uint8_t *gather(const Tree *tree, uint64_t size, const uint8_t *rows, uint64_t index,
                       uint8_t *out)
{
    uint64_t complete = size, last = size - 1;
    for (int level = 0; last > 0; level++) {
        const uint64_t parent = quotient(index, tree->arity), start = parent * tree->arity.by;
        const uint64_t own = index - start, length = group_length(tree->arity, parent, last);
        const int at_edge = start + length > complete; /* the last node is in `rows` */
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

/* Start to load the groups on the path of a leaf into the cache, but for those of small levels. */
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

/* Write the header of an inclusion proof.  The twin of inclusion_header() in encoding.py. */
static void put_proof_header(uint8_t *out, int n, uint64_t size, uint64_t index)
{
    const uint8_t start[8] = {'R', 'T', 'I', 'P', 1, (uint8_t)n};
    memcpy(out, start, 8);
    memcpy(out + 8, &size, 8);
    memcpy(out + 16, &index, 8);
}

/* Write the encoded inclusion proof of a leaf; returns its end. */
static uint8_t *put_proof(const Tree *tree, uint64_t size, const uint8_t *rows, uint64_t index,
                          uint8_t *out)
{
    put_proof_header(out, tree->n, size, index);
    return gather(tree, size, rows, index, out + PROOF_HEADER);
}
