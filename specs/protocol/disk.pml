/* The disk: what the process sees in the cache, and what else may be there when power fails.
 *
 * Each place (a frame, a name, a header, a level node) has the value that the process sees, and
 * says what other values the disk may still have: those since the last sync that covered it.  When
 * power fails each place takes one of them, independently of all others.  Zero is "synced".
 *
 * Contents: two bits per batch say which boot issued it (1 to 3; 0: nothing).  A root is the
 * contents of all batches below a size, so equal roots mean equal contents.
 */

#define MASK(size) ((1 << (2 * (size))) - 1)
#define ONLY(value) (1 << (value))

typedef Segment {
    bool named, name_unsure;            /* its entry in wal/ */
    bool header, header_unsure;
    byte base, root;
    byte promise;                       /* the header's: up to this size all was synced before */
                                        /* the segment got its name */
    byte a[BATCHES], b[BATCHES];        /* the two frames of the unit that begins at size i: the */
                                        /* size that it ends at; 0: zeros, garbage, or cut off */
    byte also_a[BATCHES], also_b[BATCHES]; /* sets of other values that the disk may have */
    byte clean;                         /* set of units that a failed sync marked clean */
    byte contents_a[BATCHES], contents_b[BATCHES]; /* of the tree up to the unit's end, as either */
                                        /* frame has it, for every batch has leaves in both */
};

Segment wal[SEGMENTS + 1];              /* by number; 0 is not used */

int commit, older;                      /* the record that is seen; another that the disk may have */
bool commit_torn;                       /* it has its name, but its bytes were not synced */

#define TORN 1
#define RECORD(size, root, ack, ack_root, first, last) \
    (2 + (((((size) * 256 + (root)) * 8 + (ack)) * 256 + (ack_root)) * 8 + (first)) * 8 + (last))
#define VALID(record) ((record) > TORN)
#define HEAD_OF(record) (((record) - 2) >> 25)
#define ROOT_OF(record) ((((record) - 2) >> 17) & 255)
#define ACK_OF(record) ((((record) - 2) >> 14) & 7)
#define ACK_ROOT_OF(record) ((((record) - 2) >> 6) & 255)
#define FIRST_OF(record) ((((record) - 2) >> 3) & 7)
#define LAST_OF(record) (((record) - 2) & 7)

#define PER_SHARD 2
#define SHARDS ((BATCHES + PER_SHARD - 1) / PER_SHARD)
byte node[BATCHES];                     /* levels/0: the contents of each batch's nodes */
bool node_unsure[BATCHES], node_clean[BATCHES];
bool shard[SHARDS], shard_unsure[SHARDS];  /* names in levels/0/ */

/* Directories and their names. */
#define TREE 0                          /* in its parent */
#define WAL 1                           /* in the tree's directory, as COMMIT is */
#define LEVELS 2
#define LEVEL 3                         /* levels/0, in levels/ */
bool directory[4], directory_unsure[4];

bool doubt;                             /* the sync of a directory failed: the names that it */
                                        /* covered may count as clean.  See README.md. */

byte at, slot, value;                   /* of the steps below, which are atomic; zero between */

/* A macro, because no inline takes a field. */
#define write_frame(frame, also, stop) \
    also = (also | ONLY(frame)) & ~ONLY(stop); \
    frame = stop

inline write_unit_at(number, start, stop) {
    write_frame(wal[number].a[start], wal[number].also_a[start], stop);
    write_frame(wal[number].b[start], wal[number].also_b[start], stop);
    wal[number].contents_a[start] = contents & MASK(stop);
    wal[number].contents_b[start] = contents & MASK(stop);
    wal[number].clean = wal[number].clean & ~ONLY(start);
}

inline write_half_unit_at(number, start, stop) {
    write_frame(wal[number].a[start], wal[number].also_a[start], stop);
    wal[number].contents_a[start] = contents & MASK(stop);
    wal[number].clean = wal[number].clean & ~ONLY(start);
}

inline cut_unit_at(number, start) {
    write_frame(wal[number].a[start], wal[number].also_a[start], 0);
    write_frame(wal[number].b[start], wal[number].also_b[start], 0);
}

inline cut_units_from(number, start) {
    slot = start;
    do
    :: slot < BATCHES -> cut_unit_at(number, slot); slot++
    :: else -> break
    od
}

/* A new file: header, and one unit of all leaves behind its base up to `stop`, if there are any. */
inline write_segment(number, start, stop) {
    forget_segment(number);
    wal[number].header = true;
    wal[number].header_unsure = true;
    wal[number].base = start;
    wal[number].root = contents & MASK(start);
    wal[number].promise = stop;
    if
    :: start < stop -> write_unit_at(number, start, stop)
    :: else
    fi
}

/* A sync that returns success covers all of the file but what counts as clean. */
inline sync_segment(number) {
    slot = 0;
    do
    :: slot < BATCHES ->
        if
        :: !(wal[number].clean & ONLY(slot)) ->
            wal[number].also_a[slot] = 0;
            wal[number].also_b[slot] = 0
        :: else
        fi;
        slot++
    :: else -> break
    od;
    wal[number].header_unsure = false
}

/* One that fails leaves the cache as it was, marked clean; or (btrfs) both as they were before. */
inline fail_sync_of_segment(number) {
    if
    :: value = 0
    :: value = 1
    fi;
    slot = 0;
    do
    :: slot < BATCHES ->
        if
        :: !(wal[number].also_a[slot] | wal[number].also_b[slot])
        :: else ->
            if
            :: value == 0 -> wal[number].clean = wal[number].clean | ONLY(slot)
            :: else -> revert_unit_at(number, slot)
            fi
        fi;
        slot++
    :: else -> break
    od;
    value = 0
}

inline revert_unit_at(number, start) {
    wal[number].a[start] = 0;
    wal[number].b[start] = 0;
    wal[number].also_a[start] = 0;
    wal[number].also_b[start] = 0;
    wal[number].contents_a[start] = 0;
    wal[number].contents_b[start] = 0
}

inline forget_segment(number) {
    wal[number].named = false;
    wal[number].name_unsure = false;
    wal[number].header = false;
    wal[number].header_unsure = false;
    wal[number].base = 0;
    wal[number].root = 0;
    wal[number].promise = 0;
    wal[number].clean = 0;
    slot = 0;
    do
    :: slot < BATCHES ->
        wal[number].a[slot] = 0;
        wal[number].b[slot] = 0;
        wal[number].also_a[slot] = 0;
        wal[number].also_b[slot] = 0;
        wal[number].contents_a[slot] = 0;
        wal[number].contents_b[slot] = 0;
        slot++
    :: else -> break
    od
}

/* Names: what was synced is certain, and a file without a name is gone. */
inline sync_wal() {
    at = 1;
    do
    :: at <= SEGMENTS ->
        wal[at].name_unsure = false;
        if
        :: !wal[at].named -> forget_segment(at)
        :: else
        fi;
        at++
    :: else -> break
    od
}

inline sync_root() {
    older = commit;
    directory_unsure[WAL] = false;
    directory_unsure[LEVELS] = false
}

inline sync_level() {
    at = 0;
    do
    :: at < SHARDS -> shard_unsure[at] = false; at++
    :: else -> break
    od
}

inline sync_shard(number) {
    at = number * PER_SHARD;
    do
    :: at < BATCHES && at < (number + 1) * PER_SHARD ->
        if
        :: !node_clean[at] -> node_unsure[at] = false
        :: else
        fi;
        at++
    :: else -> break
    od
}

inline fail_sync_of_shard(number) {
    at = number * PER_SHARD;
    do
    :: at < BATCHES && at < (number + 1) * PER_SHARD ->
        node_clean[at] = node_unsure[at];
        at++
    :: else -> break
    od
}

inline write_nodes(number, start, stop) {
    at = number * PER_SHARD;
    do
    :: at < BATCHES && at < (number + 1) * PER_SHARD ->
        if
        :: start <= at && at < stop ->
            node[at] = (contents >> (2 * at)) & 3;
            node_unsure[at] = true;
            node_clean[at] = false
        :: else
        fi;
        at++
    :: else -> break
    od
}

inline make_directory(which) {
    directory[which] = true;
    directory_unsure[which] = true
}

/* Power fails: every place by itself has what is seen, or something else that it may have. */

#define lose_frame(frame, also) \
    value = 0; \
    do \
    :: also == 0 -> break \
    :: else -> \
        if \
        :: !(also & ONLY(value)) \
        :: also & ONLY(value) -> frame = value; also = 0 \
        :: also & ONLY(value) -> also = also & ~ONLY(value) \
        fi; \
        value++ \
    od; \
    value = 0

#define lose_name(name, unsure) \
    if \
    :: unsure -> name = !name \
    :: true \
    fi; \
    unsure = false

inline lose_segment(number) {
    lose_name(wal[number].named, wal[number].name_unsure);
    if
    :: wal[number].named ->
        slot = 0;
        do
        :: slot < BATCHES ->
            lose_frame(wal[number].a[slot], wal[number].also_a[slot]);
            lose_frame(wal[number].b[slot], wal[number].also_b[slot]);
            wal[number].contents_a[slot] = (wal[number].a[slot] -> wal[number].contents_a[slot] : 0);
            wal[number].contents_b[slot] = (wal[number].b[slot] -> wal[number].contents_b[slot] : 0);
            slot++
        :: else -> break
        od;
        lose_name(wal[number].header, wal[number].header_unsure);
        wal[number].clean = 0
    :: else -> forget_segment(number)
    fi
}

inline lose_levels() {
    at = 0;
    do
    :: at < SHARDS -> lose_name(shard[at], shard_unsure[at]); at++
    :: else -> break
    od;
    at = 0;
    do
    :: at < BATCHES ->
        if
        :: node_unsure[at] -> node[at] = 0
        :: true
        fi;
        node_unsure[at] = false;
        node_clean[at] = false;
        at++
    :: else -> break
    od
}

inline lose_commit() {
    if
    :: commit = older
    :: true
    :: commit_torn -> commit = TORN
    fi;
    older = commit;
    commit_torn = false
}

/* What is in a directory that is not there is not there either. */
inline lose_what_has_no_directory() {
    directory[WAL] = directory[WAL] && directory[TREE];
    directory[LEVELS] = directory[LEVELS] && directory[TREE];
    directory[LEVEL] = directory[LEVEL] && directory[LEVELS];
    if
    :: !directory[TREE] -> commit = 0; older = 0
    :: else
    fi;
    at = 1;
    do
    :: at <= SEGMENTS ->
        if
        :: !directory[WAL] -> forget_segment(at)
        :: else
        fi;
        at++
    :: else -> break
    od;
    at = 0;
    do
    :: at < BATCHES ->
        shard[at / PER_SHARD] = shard[at / PER_SHARD] && directory[LEVEL];
        node[at] = (shard[at / PER_SHARD] -> node[at] : 0);
        at++
    :: else -> break
    od
}

inline lose_power() {
    at = 0;
    do
    :: at < 4 -> lose_name(directory[at], directory_unsure[at]); at++
    :: else -> break
    od;
    lose_commit();
    at = 1;
    do
    :: at <= SEGMENTS -> lose_segment(at); at++
    :: else -> break
    od;
    lose_levels();
    lose_what_has_no_directory();
    doubt = false;
    at = 0;
    slot = 0
}
