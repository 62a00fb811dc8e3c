/* The native module: the Python interface of the tree, of hashing and of verifying proofs.

   _hashing.h has BLAKE3, with _lanes.h in SIMD lanes; _tree.h the tree, _paths.h what verifies
   proofs. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "_paths.h"

enum {
    VERSION = 3,            /* as in __init__.py: change both whenever the interface changes */
    PIECE_BLOCKS = 1 << 18, /* hashed between two checks for signals: a few ms */
};

static int check_count(const char *name, Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, count);
    return -1;
}

/* Convert an argument to a number below `stop`; -1 and an exception set if it is not one. */
static int get_number(PyObject *given, const char *what, uint64_t stop, uint64_t *number)
{
    *number = PyLong_AsUnsignedLongLong(given);
    if (PyErr_Occurred())
        return -1;
    if (*number < stop)
        return 0;
    PyErr_Format(PyExc_IndexError, "%s must be below %llu, not %llu", what,
                 (unsigned long long)stop, (unsigned long long)*number);
    return -1;
}

static int check_lanes(long lanes)
{
    if (machine_has(lanes))
        return 0;
    PyErr_Format(PyExc_ValueError, "this machine cannot hash in %ld lanes", lanes);
    return -1;
}

/* The most children whose message is one BLAKE3 chunk. */
static int most_children(int tagged)
{
    return (CHUNK - (tagged ? TAG_BYTES : 0)) / NODE;
}

/* Check that a group of k children is one chunk; -1 and an exception set if it is not. */
static int check_k(Py_ssize_t k, int tagged)
{
    if (2 <= k && k <= most_children(tagged))
        return 0;
    PyErr_Format(PyExc_ValueError, "a group must be 2 to %d children, not %zd",
                 most_children(tagged), k);
    return -1;
}

/* Hash groups in pieces, and check for signals between them; -1 and an exception set if a signal
   handler raised. */
static int hash_in_pieces(const Py_buffer *children, int k, int tagged, long lanes, uint8_t *out)
{
    const size_t size = (size_t)NODE * k, count = children->len / size;
    const size_t blocks = (size + (tagged ? TAG_BYTES : 0) + BLOCK - 1) / BLOCK;
    const size_t piece = PIECE_BLOCKS / blocks;
    const uint8_t *groups = children->buf;
    for (size_t done = 0; done < count; done += piece) {
        if (done != 0 && PyErr_CheckSignals() != 0)
            return -1;
        const size_t some = count - done < piece ? count - done : piece;
        PyThreadState *released = some * blocks < RELEASE_BLOCKS ? NULL : PyEval_SaveThread();
        hash(groups + done * size, some, k, tagged, lanes, out + done * NODE);
        if (released != NULL)
            PyEval_RestoreThread(released);
    }
    return 0;
}

PyDoc_STRVAR(hash_groups_doc, "hash_groups(children, k, tagged, lanes, /)\n--\n\n"
                              "The parents of consecutive groups of k children.  See _native.pyi.");

static PyObject *hash_groups(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("hash_groups", count, 4) != 0)
        return NULL;
    const long k = PyLong_AsLong(args[1]), lanes = PyLong_AsLong(args[3]);
    const int tagged = PyObject_IsTrue(args[2]);
    Py_buffer children;
    if (PyErr_Occurred() || check_k(k, tagged) != 0 || check_lanes(lanes) != 0 ||
        PyObject_GetBuffer(args[0], &children, PyBUF_SIMPLE) != 0)
        return NULL;
    PyObject *parents = NULL;
    if (children.len % (NODE * k) != 0)
        PyErr_Format(PyExc_ValueError, "%zd bytes are not groups of %ld children", children.len, k);
    else
        parents = PyBytes_FromStringAndSize(NULL, children.len / k);
    if (parents != NULL &&
        hash_in_pieces(&children, k, tagged, lanes, (uint8_t *)PyBytes_AsString(parents)) != 0)
        Py_CLEAR(parents);
    PyBuffer_Release(&children);
    return parents;
}

/* ---- Encoded objects -------------------------------------------------------------------------- */

/* The base class of proofs, see rotortree/proofs/encoded.py: an object with one attribute. */
typedef struct {
    PyObject_HEAD
    PyObject *encoded;
} Encoded;

static void encoded_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Encoded *)self)->encoded);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self); /* a subclass may have another */
    Py_DECREF(type);
}

static PyMemberDef encoded_members[] = {
    {"_encoded", T_OBJECT_EX, offsetof(Encoded, encoded), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot encoded_slots[] = {
    {Py_tp_dealloc, encoded_dealloc},
    {Py_tp_members, encoded_members},
    {Py_tp_doc, "What has an encoding; see rotortree.kernel._portable."},
    {0, NULL},
};

static PyType_Spec encoded_spec = {"rotortree.kernel._native.Encoded", sizeof(Encoded), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, encoded_slots};

/* A new object of a subclass of Encoded; the caller writes its encoding of `length` bytes. */
static Encoded *new_encoded(PyObject *kind, PyTypeObject *base, size_t length)
{
    if (!PyType_Check(kind) || !PyType_IsSubtype((PyTypeObject *)kind, base)) {
        PyErr_SetString(PyExc_TypeError, "a proof must be a kind of Encoded");
        return NULL;
    }
    PyObject *row = PyBytes_FromStringAndSize(NULL, length);
    Encoded *made = row ? (Encoded *)PyType_GenericAlloc((PyTypeObject *)kind, 0) : NULL;
    if (made == NULL) {
        Py_XDECREF(row);
        return NULL;
    }
    made->encoded = row;
    return made;
}

/* ---- The tree as Python has it ---------------------------------------------------------------- */

/* Wait until no other thread changes the tree, and become the thread that does; -1 and an exception
   set if a signal handler raised meanwhile.  The GIL guards `busy`.  A thread that changes the tree
   holds the lock while it runs without the GIL. */
static int enter(Tree *tree)
{
    while (tree->busy) {
        PyThreadState *released = PyEval_SaveThread();
        if (PyThread_acquire_lock_timed(tree->lock, -1, 1) == PY_LOCK_ACQUIRED)
            PyThread_release_lock(tree->lock);
        PyEval_RestoreThread(released);
        if (PyErr_CheckSignals() != 0)
            return -1;
    }
    tree->busy = 1;
    return 0;
}

static void leave(Tree *tree)
{
    tree->busy = 0;
}

/* Get the nodes in `given`: bytes of a valid length directly, anything else through the Python
   function `normalise`.  The caller releases `row` if row->obj is set.  -1 and an exception set on
   failure. */
static int get_row(PyObject *given, int is_one, PyObject *normalise, Py_buffer *row)
{
    row->obj = NULL;
    if (PyBytes_CheckExact(given)) {
        row->buf = PyBytes_AsString(given);
        row->len = PyBytes_Size(given);
        if (is_one ? row->len == NODE : row->len > 0 && row->len % NODE == 0)
            return 0;
    }
    PyObject *normal = PyObject_CallFunctionObjArgs(normalise, given, NULL);
    const int failed = normal == NULL || PyObject_GetBuffer(normal, row, PyBUF_SIMPLE) != 0;
    Py_XDECREF(normal);
    return failed ? -1 : 0;
}

static int append_row(Tree *tree, PyObject *given, int is_one, uint8_t *root)
{
    Py_buffer row;
    if (get_row(given, is_one, is_one ? tree->one_leaf : tree->leaf_row, &row) != 0)
        return -1;
    int failed = enter(tree);
    if (failed == 0) {
        failed = store(tree, row.buf, row.len / NODE);
        if (failed == 0 && root != NULL) {
            settle(tree);
            root_of(tree, tree->size, root);
        }
        leave(tree);
    }
    if (row.obj != NULL)
        PyBuffer_Release(&row);
    return failed;
}

static PyObject *tree_append(PyObject *self, PyObject *leaf)
{
    return append_row((Tree *)self, leaf, 1, NULL) ? NULL : Py_NewRef(Py_None);
}

static PyObject *tree_extend(PyObject *self, PyObject *leaves)
{
    return append_row((Tree *)self, leaves, 0, NULL) ? NULL : Py_NewRef(Py_None);
}

static PyObject *append_for_root(PyObject *self, PyObject *given, int is_one)
{
    PyObject *root = PyBytes_FromStringAndSize(NULL, NODE); /* first, because it can fail */
    if (root != NULL && append_row((Tree *)self, given, is_one, (uint8_t *)PyBytes_AsString(root)))
        Py_CLEAR(root);
    return root;
}

static PyObject *tree_insert(PyObject *self, PyObject *leaf)
{
    return append_for_root(self, leaf, 1);
}

static PyObject *tree_insert_many(PyObject *self, PyObject *leaves)
{
    return append_for_root(self, leaves, 0);
}

static PyObject *tree_root(PyObject *self, PyObject *given)
{
    Tree *tree = (Tree *)self;
    uint64_t size;
    if (get_number(given, "size", tree->size + 1, &size) != 0)
        return NULL;
    uint8_t root[NODE];
    settle(tree);
    root_of(tree, size, root);
    return PyBytes_FromStringAndSize((char *)root, NODE);
}

static PyObject *tree_edge(PyObject *self, PyObject *given)
{
    Tree *tree = (Tree *)self;
    uint64_t size;
    if (get_number(given, "size", tree->size + 1, &size) != 0)
        return NULL;
    uint8_t rows[(MAX_LEVELS + 1) * NODE];
    settle(tree);
    fold(tree, size, rows);
    return PyBytes_FromStringAndSize((char *)rows, (depth(tree, size) + 1) * NODE);
}

/* Convert the arguments level, start, stop, and check that these nodes are complete. */
static int get_range(Tree *tree, const char *name, PyObject *const *args, Py_ssize_t count,
                     uint64_t *level, uint64_t *start, uint64_t *stop)
{
    if (check_count(name, count, 3) != 0 || get_number(args[0], "level", MAX_LEVELS, level) != 0)
        return -1;
    settle(tree);
    if (get_number(args[2], "stop", complete_count(tree, tree->size, *level) + 1, stop) != 0)
        return -1;
    return get_number(args[1], "start", *stop + 1, start);
}

static PyObject *tree_views(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Tree *tree = (Tree *)self;
    uint64_t level, at, stop;
    if (get_range(tree, "views", args, count, &level, &at, &stop) != 0)
        return NULL;
    PyObject *views = PyList_New(0);
    while (views != NULL && at < stop) {
        const uint64_t number = quotient(at, tree->segment_nodes);
        const uint64_t first = number * tree->segment_nodes.by, left = stop - first;
        const uint64_t end = left < tree->segment_nodes.by ? left : tree->segment_nodes.by;
        /* Making a view may run the garbage collector, and so any code, even code that replaces
           this segment.  Therefore take what is needed of the segment first. */
        const Segment *segment = tree->levels[level].segments + number;
        const size_t offset = segment->offset;
        PyObject *owner = Py_NewRef(segment->owner);
        PyObject *whole = PyMemoryView_FromObject(owner);
        PyObject *view = whole ? PySequence_GetSlice(whole, offset + (at - first) * NODE,
                                                     offset + end * NODE)
                               : NULL;
        if (view == NULL || PyList_Append(views, view) != 0)
            Py_CLEAR(views);
        Py_XDECREF(view);
        Py_XDECREF(whole);
        Py_DECREF(owner);
        at = first + end;
    }
    return views;
}

/* Forget everything that was derived from nodes, because nodes are about to be replaced. */
static void forget(Tree *tree)
{
    tree->reserved = 0;
    memset(tree->prefixes, 0, sizeof tree->prefixes);
}

/* Replace the segments from `start` on by `nodes`, a memoryview that no other code has.  Segments
   after them that hold no valid node are removed, so that only a level's last segment is partial.
   Requires that the caller entered the tree. */
static int install(Tree *tree, int level, uint64_t start, PyObject *nodes, uint64_t count)
{
    settle(tree); /* while the segments that the nodes belong to are still writable */
    Level *segments = tree->levels + level;
    const uint64_t whole = tree->segment_nodes.by, valid = complete_count(tree, tree->size, level);
    if (start % whole != 0 || start > held_nodes(tree, level) || count == 0 ||
        (start + count < valid && count % whole != 0)) {
        PyErr_Format(PyExc_ValueError, "%llu nodes at %llu are not segments of level %d",
                     (unsigned long long)count, (unsigned long long)start, level);
        return -1;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(nodes, &view, PyBUF_SIMPLE) != 0)
        return -1;
    uint8_t *bytes = view.buf;
    PyBuffer_Release(&view); /* the memory stays: no other code can release this memoryview */
    forget(tree);
    for (uint64_t at = 0; at < count; at += whole) {
        const uint64_t some = count - at < whole ? count - at : whole;
        const Segment segment = {Py_NewRef(nodes), at * NODE, bytes + at * NODE, some, 0};
        if (put_segment(segments, (start + at) / whole, segment) != 0)
            return -1;
    }
    if (start + count >= valid)
        drop_segments(segments, (start + count + whole - 1) / whole);
    return 0;
}

/* The length in bytes of a memoryview of nodes; -1 and an exception set if it is not of nodes. */
static Py_ssize_t node_bytes(PyObject *nodes)
{
    Py_buffer view;
    if (PyObject_GetBuffer(nodes, &view, PyBUF_SIMPLE) != 0)
        return -1;
    const Py_ssize_t length = view.len;
    PyBuffer_Release(&view);
    if (PyObject_Size(nodes) == length && length % NODE == 0)
        return length;
    PyErr_Format(PyExc_ValueError, "%zd bytes are not nodes in one row", length);
    return -1;
}

static PyObject *tree_install(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Tree *tree = (Tree *)self;
    uint64_t level, start;
    if (check_count("install", count, 3) != 0 ||
        get_number(args[0], "level", MAX_LEVELS, &level) != 0 ||
        get_number(args[1], "start", INT64_MAX / NODE, &start) != 0)
        return NULL;
    PyObject *nodes = PyMemoryView_FromObject(args[2]);
    const Py_ssize_t length = nodes ? node_bytes(nodes) : -1;
    int failed = length < 0 || enter(tree) != 0;
    if (!failed) {
        failed = install(tree, level, start, nodes, length / NODE);
        leave(tree);
    }
    Py_XDECREF(nodes);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Whether nodes [start, stop) of a level were installed.  Room that was only reserved, which is
   writable, does not count. */
static int is_installed(const Tree *tree, int level, uint64_t start, uint64_t stop)
{
    if (start < stop && held_nodes(tree, level) < stop)
        return 0;
    for (; start < stop; start += tree->segment_nodes.by - start % tree->segment_nodes.by)
        if (tree->levels[level].segments[quotient(start, tree->segment_nodes)].writable)
            return 0;
    return 1;
}

static PyObject *tree_restore(PyObject *self, PyObject *given)
{
    Tree *tree = (Tree *)self;
    uint64_t size;
    if (get_number(given, "size", tree->capacity + 1, &size) != 0 || enter(tree) != 0)
        return NULL;
    settle(tree);
    int missing = size < tree->size;
    for (int level = 0; level < MAX_LEVELS; level++)
        missing |= !is_installed(tree, level, complete_count(tree, tree->size, level),
                                 complete_count(tree, size, level));
    if (!missing) {
        tree->size = tree->settled = size;
        forget(tree);
    }
    leave(tree);
    if (!missing)
        return Py_NewRef(Py_None);
    return PyErr_Format(PyExc_ValueError, "there are no nodes for %llu leaves",
                        (unsigned long long)size);
}

/* Convert the arguments size and edge row; returns the row, or NULL and an exception set.  The
   row's length is checked, its contents are not. */
static const uint8_t *get_edge(Tree *tree, PyObject *const *args, uint64_t *size)
{
    if (get_number(args[0], "size", tree->size + 1, size) != 0)
        return NULL;
    if (PyBytes_CheckExact(args[1]) && PyBytes_Size(args[1]) == (depth(tree, *size) + 1) * NODE)
        return (uint8_t *)PyBytes_AsString(args[1]);
    PyErr_SetString(PyExc_ValueError, "this is not the edge of that size");
    return NULL;
}

static PyObject *tree_prove(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Tree *tree = (Tree *)self;
    uint64_t size, index;
    if (check_count("prove", count, 4) != 0)
        return NULL;
    const uint8_t *rows = get_edge(tree, args, &size);
    if (rows == NULL || get_number(args[2], "leaf", size, &index) != 0)
        return NULL;
    if (!PyLong_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "a leaf's index must be an int");
    settle(tree);
    prefetch_groups(tree, index);
    const size_t length = PROOF_HEADER + siblings_bytes(tree->arity, size, index);
    Encoded *proof = new_encoded(args[3], tree->encoded, length);
    if (proof != NULL)
        put_proof(tree, size, rows, index, (uint8_t *)PyBytes_AsString(proof->encoded));
    return (PyObject *)proof;
}

/* The items of a list as a row of numbers; None if an item is not an int in [0, size). */
static PyObject *get_indices(PyObject *list, uint64_t size)
{
    const Py_ssize_t count = PyList_Size(list);
    PyObject *row = PyBytes_FromStringAndSize(NULL, count * sizeof(uint64_t));
    if (row == NULL)
        return NULL;
    uint64_t *indices = (uint64_t *)PyBytes_AsString(row);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(list, i);
        indices[i] = PyLong_CheckExact(item) ? PyLong_AsUnsignedLongLong(item) : size;
        if (indices[i] >= size) {
            PyErr_Clear(); /* an int that does not fit into 64 bits is out of range, too */
            Py_DECREF(row);
            return Py_NewRef(Py_None);
        }
    }
    return row;
}

static PyObject *tree_prove_many(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Tree *tree = (Tree *)self;
    uint64_t size;
    if (check_count("prove_many", count, 3) != 0)
        return NULL;
    const uint8_t *rows = get_edge(tree, args, &size);
    if (rows == NULL)
        return NULL;
    if (!PyList_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "indices must be a list");
    PyObject *ends = get_indices(args[2], size);
    if (ends == NULL || ends == Py_None)
        return ends;
    settle(tree);
    const Py_ssize_t proofs = PyBytes_Size(ends) / sizeof(uint64_t);
    uint64_t *numbers = (uint64_t *)PyBytes_AsString(ends); /* indices, then ends */
    size_t bytes = proofs * PROOF_HEADER;
    for (Py_ssize_t i = 0; i < proofs; i++)
        bytes += siblings_bytes(tree->arity, size, numbers[i]);
    PyObject *encoded = PyBytes_FromStringAndSize(NULL, bytes), *result = NULL;
    if (encoded != NULL) {
        uint8_t *out = (uint8_t *)PyBytes_AsString(encoded), *end = out;
        for (Py_ssize_t i = 0; i < proofs; i++) {
            if (i + AHEAD < proofs)
                prefetch_groups(tree, numbers[i + AHEAD]);
            end = put_proof(tree, size, rows, numbers[i], end);
            numbers[i] = end - out;
        }
        result = PyTuple_Pack(2, encoded, ends);
    }
    Py_XDECREF(encoded);
    Py_DECREF(ends);
    return result;
}

static PyObject *tree_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *hasher, *one_leaf, *leaf_row, *no_room;
    int n, max_depth, tagged, lanes, threads;
    unsigned long long capacity, segment_nodes;
    if (!PyArg_ParseTuple(args, "iiOpiiKKOOO", &n, &max_depth, &hasher, &tagged, &lanes, &threads,
                          &capacity, &segment_nodes, &one_leaf, &leaf_row, &no_room) ||
        check_k(n, tagged) != 0)
        return NULL;
    if (!machine_has(lanes) || segment_nodes == 0 || segment_nodes % n != 0 ||
        segment_nodes > INT32_MAX || capacity > INT64_MAX || threads < 1)
        return PyErr_Format(PyExc_ValueError, "%d lanes, %d threads, segments of %llu", lanes,
                            threads, segment_nodes);
    Tree *tree = (Tree *)PyType_GenericAlloc(type, 0);
    PyObject *module = tree ? PyType_GetModule(type) : NULL;
    if (module == NULL) {
        Py_XDECREF((PyObject *)tree);
        return NULL;
    }
    tree->n = n;
    tree->max_depth = max_depth;
    tree->tagged = tagged;
    tree->lanes = lanes;
    tree->threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    tree->capacity = capacity;
    tree->arity = divisor(n);
    tree->segment_nodes = divisor(segment_nodes);
    tree->hasher = Py_NewRef(hasher);
    tree->one_leaf = Py_NewRef(one_leaf);
    tree->leaf_row = Py_NewRef(leaf_row);
    tree->no_room = Py_NewRef(no_room);
    const State *state = PyModule_GetState(module);
    tree->memory = (PyTypeObject *)Py_NewRef((PyObject *)state->memory);
    tree->encoded = (PyTypeObject *)Py_NewRef((PyObject *)state->encoded);
    tree->lock = PyThread_allocate_lock();
    if (tree->lock == NULL) {
        Py_DECREF((PyObject *)tree);
        return PyErr_NoMemory();
    }
    return (PyObject *)tree;
}

static void tree_dealloc(PyObject *self)
{
    Tree *tree = (Tree *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int level = 0; level < MAX_LEVELS; level++) {
        for (size_t i = 0; i < tree->levels[level].count; i++)
            Py_DECREF(tree->levels[level].segments[i].owner);
        free(tree->levels[level].segments);
    }
    if (tree->lock != NULL)
        PyThread_free_lock(tree->lock);
    Py_XDECREF(tree->hasher);
    Py_XDECREF(tree->one_leaf);
    Py_XDECREF(tree->leaf_row);
    Py_XDECREF(tree->no_room);
    Py_XDECREF((PyObject *)tree->memory);
    Py_XDECREF((PyObject *)tree->encoded);
    PyObject_Free(self);
    Py_DECREF(type);
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef tree_methods[] = {
    {"append", tree_append, METH_O, NULL},
    {"extend", tree_extend, METH_O, NULL},
    {"insert", tree_insert, METH_O, NULL},
    {"insert_many", tree_insert_many, METH_O, NULL},
    {"root", tree_root, METH_O, NULL},
    {"edge", tree_edge, METH_O, NULL},
    {"views", FAST(tree_views), NULL},
    {"install", FAST(tree_install), NULL},
    {"restore", tree_restore, METH_O, NULL},
    {"prove", FAST(tree_prove), NULL},
    {"prove_many", FAST(tree_prove_many), NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef tree_members[] = {
    {"n", T_INT, offsetof(Tree, n), READONLY, NULL},
    {"max_depth", T_INT, offsetof(Tree, max_depth), READONLY, NULL},
    {"hasher", T_OBJECT_EX, offsetof(Tree, hasher), READONLY, NULL},
    {"size", T_ULONGLONG, offsetof(Tree, size), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot tree_slots[] = {
    {Py_tp_new, tree_new},
    {Py_tp_dealloc, tree_dealloc},
    {Py_tp_methods, tree_methods},
    {Py_tp_members, tree_members},
    {Py_tp_doc, "The tree in memory; see rotortree.tree.accumulator."},
    {0, NULL},
};

static PyType_Spec tree_spec = {"rotortree.kernel._native.Accumulator", sizeof(Tree), 0,
                                Py_TPFLAGS_DEFAULT, tree_slots};

static PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, memory_dealloc},
    {Py_bf_getbuffer, memory_getbuffer},
    {0, NULL},
};

static PyType_Spec memory_spec = {"rotortree.kernel._native.Memory", sizeof(Memory), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  memory_slots};

/* ---- Verifying proofs ------------------------------------------------------------------------- */

/* The shape of a tree, and the way to hash it. */
typedef struct {
    uint64_t n, size, lanes;
    int tagged;
} Shape;

/* Convert arguments to a shape; -1 and an exception set on failure.  The arity is not checked. */
static int get_shape(PyObject *n, PyObject *size, PyObject *lanes, Shape *shape)
{
    if (get_number(n, "n", 256, &shape->n) != 0 ||
        get_number(size, "size", (uint64_t)INT64_MAX + 1, &shape->size) != 0 ||
        get_number(lanes, "lanes", 17, &shape->lanes) != 0)
        return -1;
    return check_lanes(shape->lanes);
}

static int get_tagged(PyObject *tagged, Shape *shape)
{
    shape->tagged = PyObject_IsTrue(tagged);
    return shape->tagged < 0 ? -1 : check_k(shape->n, shape->tagged);
}

/* Start a path at its leaf; -1 if `proof` does not have the header of a proof of this index. */
static int find_path(Path *path, int n, uint64_t size, PyObject *index, const uint8_t *leaf,
                     PyObject *proof)
{
    path->own = PyLong_CheckExact(index) ? PyLong_AsUnsignedLongLong(index) : size;
    if (path->own >= size) {
        PyErr_Clear(); /* an int that does not fit into 64 bits is out of range, too */
        return -1;
    }
    uint8_t header[PROOF_HEADER];
    put_proof_header(header, n, size, path->own);
    if (!PyBytes_CheckExact(proof) || PyBytes_Size(proof) < PROOF_HEADER ||
        memcmp(PyBytes_AsString(proof), header, PROOF_HEADER) != 0)
        return -1;
    path->hashes = (uint8_t *)PyBytes_AsString(proof) + PROOF_HEADER;
    path->end = path->hashes + PyBytes_Size(proof) - PROOF_HEADER;
    memcpy(path->node, leaf, NODE);
    return 0;
}

/* Write the roots of up to MOST_PATHS proofs, from number `first` on. */
static int find_roots(Shape shape, PyObject *indices, const uint8_t *leaves, PyObject *proofs,
                      Py_ssize_t first, Py_ssize_t total, uint8_t *roots)
{
    Path paths[MOST_PATHS];
    if (PyList_Size(indices) != total || PyList_Size(proofs) != total) {
        PyErr_SetString(PyExc_ValueError, "a signal handler changed the indices or proofs");
        return -1;
    }
    const Py_ssize_t left = total - first;
    const int count = left < MOST_PATHS ? (int)left : MOST_PATHS;
    for (int i = 0; i < count; i++)
        if (find_path(paths + i, shape.n, shape.size, PyList_GetItem(indices, first + i),
                      leaves + (first + i) * NODE, PyList_GetItem(proofs, first + i)) != 0) {
            PyErr_SetString(PyExc_ValueError, "a proof is of another leaf or tree");
            return -1;
        }
    if (climb(paths, count, shape.n, shape.size, shape.tagged, shape.lanes) != 0) {
        PyErr_SetString(PyExc_ValueError, "a proof does not fit the size");
        return -1;
    }
    for (int i = 0; i < count; i++)
        memcpy(roots + (first + i) * NODE, paths[i].node, NODE);
    return PyErr_CheckSignals();
}

PyDoc_STRVAR(path_roots_doc, "path_roots(n, size, indices, leaves, proofs, tagged, lanes, /)\n--\n\n"
                             "The roots that encoded proofs lead to.  See _native.pyi.");

static PyObject *path_roots(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Shape shape;
    if (check_count("path_roots", count, 7) != 0 ||
        get_shape(args[0], args[1], args[6], &shape) != 0 || get_tagged(args[5], &shape) != 0)
        return NULL;
    const Py_ssize_t proofs = PyList_CheckExact(args[4]) ? PyList_Size(args[4]) : -1;
    if (!PyList_CheckExact(args[2]) || PyList_Size(args[2]) != proofs ||
        !PyBytes_CheckExact(args[3]) || PyBytes_Size(args[3]) != proofs * NODE)
        return PyErr_Format(PyExc_ValueError, "there are not as many indices, leaves and proofs");
    PyObject *roots = PyBytes_FromStringAndSize(NULL, proofs * NODE);
    for (Py_ssize_t first = 0; roots != NULL && first < proofs; first += MOST_PATHS)
        if (find_roots(shape, args[2], (uint8_t *)PyBytes_AsString(args[3]), args[4], first,
                       proofs, (uint8_t *)PyBytes_AsString(roots)) != 0)
            Py_CLEAR(roots);
    return roots;
}

static int is_node(PyObject *given)
{
    return PyBytes_CheckExact(given) && PyBytes_Size(given) == NODE;
}

/* Whether this module can hash the shape's groups in the scheme of that name; sets `tagged`. */
static int is_known(PyObject *scheme, Shape *shape)
{
    if (!PyUnicode_Check(scheme))
        return 0;
    shape->tagged = PyUnicode_CompareWithASCIIString(scheme, "blake3") == 0;
    if (!shape->tagged && PyUnicode_CompareWithASCIIString(scheme, "blake3-plain") != 0)
        return 0;
    return shape->n >= 2 && (int)shape->n <= most_children(shape->tagged);
}

PyDoc_STRVAR(leads_to_doc, "leads_to(scheme, n, size, root, index, leaf, proof, lanes, /)\n--\n\n"
                           "Whether a proof leads from a leaf to a root.  See _native.pyi.");

static PyObject *leads_to(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Shape shape;
    if (check_count("leads_to", count, 8) != 0 ||
        get_shape(args[1], args[2], args[7], &shape) != 0)
        return NULL;
    if (!is_known(args[0], &shape))
        Py_RETURN_FALSE;
    Path path;
    if (!is_node(args[3]) || !is_node(args[5]) ||
        find_path(&path, shape.n, shape.size, args[4], (uint8_t *)PyBytes_AsString(args[5]),
                  args[6]) != 0 ||
        climb_alone(&path, shape.n, shape.size, shape.tagged, shape.lanes) != 0)
        Py_RETURN_FALSE;
    return PyBool_FromLong(memcmp(path.node, PyBytes_AsString(args[3]), NODE) == 0);
}

PyDoc_STRVAR(boundary_nodes_doc,
             "boundary_nodes(n, size, old_size, hashes, tagged, lanes, /)\n--\n\n"
             "The nodes between old leaves and new ones.  See _native.pyi.");

static PyObject *boundary_nodes(PyObject *Py_UNUSED(module), PyObject *const *args,
                                Py_ssize_t count)
{
    Shape shape;
    uint64_t old_size;
    if (check_count("boundary_nodes", count, 6) != 0 ||
        get_shape(args[0], args[1], args[5], &shape) != 0 || get_tagged(args[4], &shape) != 0 ||
        get_number(args[2], "old_size", shape.size, &old_size) != 0)
        return NULL;
    uint8_t nodes[MAX_LEVELS * 2 * NODE];
    int length = -1;
    if (old_size > 0 && PyBytes_CheckExact(args[3])) {
        const uint8_t *hashes = (uint8_t *)PyBytes_AsString(args[3]);
        length = climb_boundary(hashes, hashes + PyBytes_Size(args[3]), shape.n, old_size,
                                shape.size, shape.tagged, shape.lanes, nodes);
    }
    if (length >= 0)
        return PyBytes_FromStringAndSize((char *)nodes, length);
    return PyErr_Format(PyExc_ValueError, "the hashes do not fit the sizes");
}

PyDoc_STRVAR(machine_has_doc, "machine_has(lanes, /)\n--\n\n"
                              "Whether this machine can hash in so many lanes.");

static PyObject *py_machine_has(PyObject *Py_UNUSED(module), PyObject *lanes)
{
    const long number = PyLong_AsLong(lanes);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(machine_has(number));
}

static int fill_module(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->memory = (PyTypeObject *)PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    state->encoded = (PyTypeObject *)PyType_FromModuleAndSpec(module, &encoded_spec, NULL);
    if (state->memory == NULL || state->encoded == NULL ||
        PyModule_AddObjectRef(module, "Encoded", (PyObject *)state->encoded) != 0)
        return -1;
    PyObject *tree = PyType_FromModuleAndSpec(module, &tree_spec, NULL);
    const int failed = tree == NULL || PyModule_AddObjectRef(module, "Accumulator", tree) != 0;
    Py_XDECREF(tree);
    return failed ? -1 : PyModule_AddIntConstant(module, "VERSION", VERSION);
}

static int traverse_module(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->memory);
    Py_VISIT(state->encoded);
    return 0;
}

static int clear_module(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->memory);
    Py_CLEAR(state->encoded);
    return 0;
}

static PyMethodDef methods[] = {
    {"hash_groups", FAST(hash_groups), hash_groups_doc},
    {"path_roots", FAST(path_roots), path_roots_doc},
    {"leads_to", FAST(leads_to), leads_to_doc},
    {"boundary_nodes", FAST(boundary_nodes), boundary_nodes_doc},
    {"machine_has", py_machine_has, METH_O, machine_has_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill_module}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "rotortree.kernel._native",
    .m_doc = "The bulk-hash kernel in C; rotortree.kernel chooses whether it is used.",
    .m_methods = methods,
    .m_slots = slots,
    .m_size = sizeof(State),
    .m_traverse = traverse_module,
    .m_clear = clear_module,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
