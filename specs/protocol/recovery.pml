/* Recovery: what is there, what it means, and how a writer goes on with it. */

byte found_base, found_durable, found_first, found_last;
byte found_start;                       /* where a new segment begins */
bool found_none, found_clean, found_known, refused, goes, has_tail;
byte others;                            /* as `contents`, of what the second frames hold */
hidden byte number, before, start, stop, limit, known; /* of `decide`, which is one step */

/* The live segments from this one on that count: no later one begins where they do, or before. */
inline find_counting(first) {
    counts = 0;
    limit = BATCHES + 1;
    number = SEGMENTS;
    do
    :: number > 0 && number >= first ->
        if
        :: wal[number].named && wal[number].base < limit ->
            limit = wal[number].base;
            counts = counts | ONLY(number)
        :: else
        fi;
        number--
    :: else -> break
    od;
    number = 0;
    limit = 0
}

/* Follow the units of a segment while they are whole and end at or below `limit`; `start` is then
 * behind the last one, `before` where that one began, and `known` behind the last one that the
 * header promises or COMMIT acknowledges as a whole. */
inline follow_units(segment) {
    start = wal[segment].base;
    before = start;
    known = start;
    do
    :: start >= BATCHES -> break
    :: else ->
        stop = wal[segment].a[start];
        if
        :: stop == 0 || stop > limit -> break
        :: wal[segment].b[start] != stop -> break
        :: else ->
            contents = (contents & MASK(start)) |
                (wal[segment].contents_a[start] & MASK(stop) & ~MASK(start));
            others = (others & MASK(start)) |
                (wal[segment].contents_b[start] & MASK(stop) & ~MASK(start));
            before = start;
            start = stop;
            if
            :: stop <= wal[segment].promise -> known = stop
            :: stop > wal[segment].promise && VALID(commit) && stop <= ACK_OF(commit) -> known = stop
            :: else
            fi
        fi
    od;
    size = start
}

/* The leaves below a size, as the level files hold them. */
inline load_levels(count) {
    contents = 0;
    at = 0;
    do
    :: at < count ->
        refused = refused || !directory[LEVEL] || !shard[at / PER_SHARD] || node[at] == 0;
        contents = contents | (node[at] << (2 * at));
        at++
    :: else -> break
    od;
    others = contents
}

inline survey_first(segment) {
    found_none = false;
    found_first = segment;
    found_last = segment;
    found_base = wal[segment].base;
    load_levels(found_base);
    size = found_base;
    refused = refused || contents != wal[segment].root;
    refused = refused || (VALID(commit) &&                                          /* row 8 */
        (HEAD_OF(commit) != found_base || ROOT_OF(commit) != wal[segment].root))
}

inline survey_next(segment) {
    limit = wal[segment].base;
    follow_units(found_last);
    refused = refused || size != limit;                                             /* row 9 */
    refused = refused || (contents & MASK(size)) != wal[segment].root ||
        (others & MASK(size)) != wal[segment].root;
    found_last = segment
}

inline survey_nothing() {
    refused = refused || commit != 0;                                               /* row 3 */
    at = 0;
    do
    :: at < SHARDS -> refused = refused || shard[at]; at++                          /* row 2 */
    :: else -> break
    od
}

inline survey_end() {
    limit = BATCHES;
    follow_units(found_last);
    contents = contents & MASK(size);
    others = others & MASK(size);
    refused = refused || (VALID(commit) && (ACK_OF(commit) > size ||                /* row 10 */
        ACK_ROOT_OF(commit) != (contents & MASK(ACK_OF(commit))) ||
        ACK_ROOT_OF(commit) != (others & MASK(ACK_OF(commit)))));
    refused = refused || wal[found_last].promise > size;                            /* row 11 */
    slot = size + 1;
    do
    :: slot < BATCHES ->                                                            /* row 11 */
        refused = refused || wal[found_last].a[slot] || wal[found_last].b[slot];
        slot++
    :: else -> break
    od;
    found_durable = before;             /* what the last whole unit promises */
    RAISE(found_durable, known);
    found_known = found_durable == size && VALID(commit) && LAST_OF(commit) == found_last;
    found_clean = VALID(commit) && ACK_OF(commit) == size && LAST_OF(commit) == found_last;
    if
    :: size < BATCHES && (wal[found_last].a[size] || wal[found_last].b[size]) ->
        found_durable = size;           /* what a frame of a unit that is not whole promises */
        found_clean = false;
        found_known = false
    :: else
    fi
}

/* The decision, with the rows of the table in specs/storage-format.md.  It sees the cache and
 * changes nothing, so a crash within it is one before it. */
inline decide() {
    found_none = true;
    found_first = 0;
    found_last = 0;
    size = 0;
    contents = 0;
    others = 0;
    refused = VALID(commit) && !wal[LAST_OF(commit)].named;                         /* row 4 */
    found_first = (VALID(commit) -> FIRST_OF(commit) : 1);
    find_counting(found_first);
    number = found_first;
    found_first = 0;
    do
    :: number <= SEGMENTS ->
        refused = refused || (wal[number].named && !wal[number].header);            /* row 5 */
        if
        :: !(counts & ONLY(number))
        :: counts & ONLY(number) && found_none -> survey_first(number)
        :: counts & ONLY(number) && !found_none -> survey_next(number)
        fi;
        number++
    :: else -> break
    od;
    if
    :: found_none -> survey_nothing()
    :: else -> survey_end()
    fi;
    tidy()
}

/* The oracle: what recovery may return, and what it must. */
inline judge() {
    assert(!refused);                                    /* recovery succeeds */
    assert(size >= acknowledged);                        /* nothing acknowledged is lost */
    assert(size <= issued);                              /* nothing is invented */
    assert(contents == (issued_contents & MASK(size)));  /* it is what was issued */
    assert(others == (issued_contents & MASK(size)));    /* and so are the batches' other halves */
    assert(seen == UNSEEN || size == seen)               /* a crash of recovery changes nothing */
}

inline create() {
    if
    :: !directory[TREE] -> TRY(MKDIR_TREE, make_directory(TREE), fail_call())
    :: else
    fi;
    if
    :: !directory[WAL] -> TRY(MKDIR_WAL, make_directory(WAL), fail_call())
    :: else
    fi;
    if
    :: !directory[LEVELS] -> TRY(MKDIR_LEVELS, make_directory(LEVELS), fail_call())
    :: else
    fi;
    TRY(SYNC_ROOT, sync_root(), fail_names());
    TRY(SYNC_PARENT, directory_unsure[TREE] = false, fail_names());
    TRY_TWO(ON(SEGMENT_CREATE, 1), ON(SEGMENT_WRITE, 1), write_segment(1, 0, 0), fail_call());
    TRY(ON(SEGMENT_SYNC, 1), sync_segment(1), fail_segment(1));
    TRY(ON(SEGMENT_RENAME, 1), name_segment(1), fail_call());
    d_step {
        decide();
        found_clean = true
    }
}

/* Where the log goes on: in its last segment if nothing in that is in doubt, else in a new one. */
inline go_on() {
    TRY(SYNC_WAL, sync_wal(), fail_names());
    TRY(SYNC_ROOT, sync_root(), fail_names());
    if
    :: !VALID(commit) -> TRY(SYNC_PARENT, directory_unsure[TREE] = false, fail_names())
    :: else
    fi;
    if
    :: found_clean || found_known -> reopen_segment()
    :: else -> go_on_in_new_segment()
    fi;
    d_step {
        keep();
        find_goers()
    };
    if
    :: goes || !VALID(commit) || (RECORDING && ACK_OF(commit) != size) -> rewrite_commit()
    :: else
    fi;
    if
    :: !found_clean ->
        remove_segments(open_segment);
        cut_tails()
    :: else
    fi;
    d_step { counts = 0; goes = false }
}

/* A macro, because no inline takes the name of a call. */
#define sync_it(call) \
    TRY(ON(call, open_segment), sync_segment(open_segment), fail_segment(open_segment))

/* A process that was killed may have cut off what the disk still has. */
inline reopen_segment() {
    open_segment = found_last;
    if
    :: found_clean && !VALID(commit)                 /* it was created just now */
    :: else -> sync_it(UNIT_SYNC)
    fi
}

/* What is not known to be on the disk is written once more, before the segment has a name; and what
 * it replaces.  Only when the segment is durable, and then COMMIT, anything older goes. */
inline go_on_in_new_segment() {
    d_step {
        where_to_begin();
        open_segment = found_last + 1
    };
    TRY_TWO(ON(SEGMENT_CREATE, open_segment), ON(SEGMENT_WRITE, open_segment),
        write_segment(open_segment, found_start, size), fail_call());
    sync_it(SEGMENT_SYNC);
    TRY(ON(SEGMENT_RENAME, open_segment), name_segment(open_segment),
        fail_rename(name_segment(open_segment)));
    TRY(SYNC_WAL, sync_wal(), fail_names())
}

/* At the last head that is known to be durable; or at the base of an earlier segment, if no more
 * than FOLD batches are copied for that which are known to be durable. */
inline where_to_begin() {
    found_start = found_durable;
    number = found_last;
    do
    :: number >= found_first && !(counts & ONLY(number)) -> number--
    :: number >= found_first && counts & ONLY(number) &&
            found_durable - wal[number].base <= FOLD ->
        found_start = wal[number].base;
        number--
    :: else -> break
    od;
    number = 0
}

/* The segments that stay are those that count now. */
inline keep() {
    find_counting(found_first);
    do
    :: counts & ONLY(found_first) -> break
    :: else -> found_first++
    od
}

inline find_goers() {
    goes = false;
    number = 1;
    do
    :: number <= SEGMENTS ->
        goes = goes || (wal[number].named && !(counts & ONLY(number)));
        number++
    :: else -> break
    od;
    number = 0
}

/* A segment ends where the next one that counts begins.  `target` is that, as `file` goes down. */
inline cut_tails() {
    d_step { file = open_segment; target = wal[open_segment].base };
    do
    :: file > found_first -> cut_tail_of_next_lower()
    :: else -> break
    od;
    atomic { file = 0; target = 0 }
}

inline cut_tail_of_next_lower() {
    d_step {
        file--;
        find_tail()
    };
    if
    :: has_tail ->
        TRY(ON(UNIT_CUT, file), cut_units_from(file, target), file = found_first)
    :: else
    fi;
    d_step {
        has_tail = false;
        if
        :: counts & ONLY(file) -> target = wal[file].base
        :: else
        fi
    }
}

inline find_tail() {
    has_tail = false;
    slot = target;
    do
    :: slot < BATCHES && counts & ONLY(file) ->
        has_tail = has_tail || wal[file].a[slot] || wal[file].b[slot];
        slot++
    :: else -> break
    od;
    slot = 0
}

inline rewrite_commit() {
    next = RECORD(found_base, contents & MASK(found_base), size, contents, found_first,
        open_segment);
    replace_commit();
    next = 0
}

inline open_tree() {
    d_step { decide() };
    if
    :: found_none && !refused -> create()
    :: else
    fi;
    atomic {
        judge();
        others = 0;
        if
        :: boots == 0 && BOOTS > 0 ->           /* nothing ends this process: all was seen */
end_judged: false
        :: else
        fi;
        if
        :: certain -> seen = size
        :: else
        fi
    };
    go_on();
    atomic {
        MARK(OPENED);
        d_step {
            logged = size;
            durable = size;
            acknowledged = size;
            issued = size;
            issued_contents = contents;
            written = found_base;
            checkpoint_size = found_base;
            first_segment = found_first;
            recorded = ACK_OF(commit);
            commit_known = true;
            seen = UNSEEN;
            certain = false;
            up = true;
            found_none = false; found_clean = false; found_known = false;
            found_base = 0; found_durable = 0; found_first = 0; found_last = 0; found_start = 0;
            target = 0; counts = 0
        };
        may_crash()
    }
}
