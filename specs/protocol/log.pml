/* The protocol of the durable tree: README.md says what is abstracted, and how to read this.
 *
 * Bounds: BATCHES are issued at most, segments are numbered up to SEGMENTS, the process ends and the
 * tree is opened again BOOTS times, FAULTS calls fail.  WRITERS threads insert.  RECORDING:
 * acknowledgements are recorded in COMMIT.  ROLLING: a flush may begin a segment.  FOLD: a recovery
 * copies so many durable batches at most to replace segments.
 */

mtype = {
    /* calls of the file system */
    MKDIR_TREE, MKDIR_WAL, MKDIR_LEVELS, MKDIR_LEVEL,
    SEGMENT_CREATE, SEGMENT_WRITE, SEGMENT_SYNC, SEGMENT_RENAME, SEGMENT_UNLINK,
    UNIT_WRITE, UNIT_SYNC, UNIT_CUT,
    COMMIT_CREATE, COMMIT_WRITE, COMMIT_SYNC, COMMIT_RENAME,
    LEVEL_CREATE, LEVEL_WRITE, LEVEL_SYNC,
    SYNC_PARENT, SYNC_ROOT, SYNC_WAL, SYNC_LEVELS, SYNC_LEVEL,
    /* marks */
    OPENED, DURABLE, CHECKPOINTED, CLOSED, KILLED, POWER_FAILED
};

#include "disk.pml"
#include "memory.pml"
#include "recovery.pml"

/* Recovery has a number for every time that the process may still end. */
#define HAS_NUMBER (open_segment + boots < SEGMENTS)

/* The commit record. */

inline replace_commit() {
    TRY_TWO(COMMIT_CREATE, COMMIT_WRITE, next_torn = true, fail_call());
    TRY(COMMIT_SYNC, next_torn = false, fail_call());
    TRY(COMMIT_RENAME, name_commit(), fail_rename(name_commit()));
    TRY(SYNC_ROOT, sync_root(), fail_names());
    next_torn = false
}

inline name_commit() {
    commit = next;
    commit_torn = next_torn
}

/* `stop`: the segment that a new checkpoint leads to; 0: the last checkpoint stays. */
inline write_commit(count, stop) {
    atomic {
        LOCK(commit_lock);
        if
        :: failed -> error = FATAL
        :: else ->
            d_step {
                next_size = (stop -> wal[stop].base : checkpoint_size);
                next_first = (stop -> stop : first_segment);
                next_ack = count;
                RAISE(next_ack, recorded);
                next = RECORD(next_size, contents & MASK(next_size), next_ack,
                    contents & MASK(next_ack), next_first, open_segment);
                is_new = !commit_known || next != commit;
                commit_known = commit_known && !is_new
            }
        fi
    };
    if
    :: is_new -> replace_commit()
    :: else
    fi;
    d_step { end_commit() }
}

inline end_commit() {
    if
    :: error == NONE ->
        commit_known = true;
        recorded = next_ack;
        checkpoint_size = next_size;
        first_segment = next_first
    :: else
    fi;
    next = 0; next_size = 0; next_ack = 0; next_first = 0; is_new = false;
    UNLOCK(commit_lock)
}

/* Flush: one thread does it.  Who takes a lock does so in one step with what comes next, and gives
 * it back in one with what came before: nobody could tell the difference. */

inline flush() {
    atomic {
        target = size;
        LOCK(append_lock);
        error = (failed -> FATAL : NONE);
        is_long = ROLLING && !failed && logged < target && logged > wal[open_segment].base &&
            HAS_NUMBER
    };
    if
    :: is_long -> next_segment(); go_on_in_the_old_one()
    :: else
    fi;
    if
    :: atomic { error == NONE -> write_unit() }
    :: else
    fi;
    sync_unit();
    UNLOCK(append_lock);
    if
    :: RECORDING && error == NONE && durable < target -> write_commit(target, 0)
    :: else
    fi;
    atomic { acknowledge() }
}

/* If the new segment has no name. */
inline go_on_in_the_old_one() {
    d_step {
        is_long = false;
        if
        :: error == RETRY -> error = NONE
        :: else
        fi
    }
}

/* Write all that is in memory as a unit, if there is anything. */
inline write_unit() {
    if
    :: logged == target
    :: else ->
        OP(ON(UNIT_WRITE, open_segment));
        if
        :: d_step { write_unit_at(open_segment, logged, target) }
        :: MAY_FAIL -> faults--; error = RETRY; write_unit_at(open_segment, logged, target)
        :: MAY_FAIL -> faults--; error = RETRY; write_half_unit_at(open_segment, logged, target)
        :: MAY_FAIL -> faults--; error = RETRY
        fi;
        may_crash()
    fi
}

/* Sync what was written; or give its space back, which may fail, too. */
inline sync_unit() {
    if
    :: atomic {
        error == NONE && logged < target -> OP(ON(UNIT_SYNC, open_segment));
        attempt(sync_segment(open_segment); logged = target, fail_flush())
    }
    :: atomic {
        error == RETRY -> OP(ON(UNIT_CUT, open_segment));
        if
        :: cut_unit_at(open_segment, logged)
        :: true
        fi;
        may_crash()
    }
    :: else
    fi
}

inline fail_flush() {
    fail_sync_of_segment(open_segment);
    failed = true;
    error = FATAL
}

inline acknowledge() {
    if
    :: error == NONE && durable < target ->
        durable = target;
        acknowledged = target
    :: error == NONE && durable >= target
    :: error != NONE -> failures++
    fi;
    may_crash()
}

/* Checkpoint: the flusher makes all durable, then a new segment begins; then the level files are
 * written up to each place where a segment begins, one after the other. */

inline checkpoint() {
    wait_for_flush();
    if
    :: error == NONE -> switch_segment()
    :: else
    fi;
    do
    :: error == NONE && first_segment < last -> commit_step()
    :: else -> break
    od;
    atomic {
        if
        :: error == NONE -> MARK(CHECKPOINTED)
        :: else
        fi;
        may_crash()
    }
}

/* Without a number left for it the checkpoint fails. */
inline switch_segment() {
    atomic {
        LOCK(append_lock);
        if
        :: failed -> error = FATAL
        :: !failed && logged > wal[open_segment].base && !HAS_NUMBER -> error = RETRY
        :: else
        fi
    };
    if
    :: error == NONE && logged > wal[open_segment].base -> next_segment()
    :: else
    fi;
    atomic {
        last = open_segment;
        UNLOCK(append_lock)
    }
}

inline commit_step() {
    d_step {
        find_counting(first_segment);
        stop_at = first_segment + 1;
        do
        :: counts & ONLY(stop_at) -> break
        :: else -> stop_at++
        od;
        counts = 0;
        target = wal[stop_at].base
    };
    write_levels();
    if
    :: error == NONE -> write_commit(durable, stop_at)
    :: else
    fi;
    if
    :: error == NONE ->
        d_step { find_counting(first_segment) };
        remove_segments(last);
        counts = 0
    :: else
    fi;
    stop_at = 0
}

/* Go on in a new segment.  Once its name may exist, neither it nor the one before may be written to
 * until that name is durable. */
inline next_segment() {
    TRY_TWO(ON(SEGMENT_CREATE, open_segment + 1), ON(SEGMENT_WRITE, open_segment + 1),
        write_segment(open_segment + 1, logged, logged), fail_call());
    TRY(ON(SEGMENT_SYNC, open_segment + 1), sync_segment(open_segment + 1), fail_call());
    if
    :: error == NONE -> publish_segment()
    :: else -> d_step { forget_segment(open_segment + 1); tidy() }
    fi
}

inline publish_segment() {
    TRY(ON(SEGMENT_RENAME, open_segment + 1), name_segment(open_segment + 1),
        fail_rename(name_segment(open_segment + 1)); fail_names());
    TRY(SYNC_WAL, sync_wal(); open_segment++, fail_names())
}

inline name_segment(segment) {
    wal[segment].named = true;
    wal[segment].name_unsure = true
}

#define NEW_SHARDS ((ONLY((target + PER_SHARD - 1) / PER_SHARD) - 1) & ~(ONLY(written / PER_SHARD) - 1))

inline write_levels() {
    if
    :: written < target -> write_shards()
    :: else
    fi;
    TRY_IF(!known_levels, SYNC_ROOT, sync_root(), fail_names());
    if
    :: written < target ->
        TRY_IF(!known_level, SYNC_LEVELS, directory_unsure[LEVEL] = false, fail_names());
        TRY_IF(NEW_SHARDS & ~known_shards, SYNC_LEVEL, sync_level(), fail_names())
    :: else
    fi;
    d_step {
        if
        :: error == NONE ->
            known_levels = true;
            known_level = known_level || written < target;
            known_shards = known_shards | (written < target -> NEW_SHARDS : 0);
            written = target
        :: else
        fi
    }
}

inline write_shards() {
    TRY_IF(!directory[LEVEL], MKDIR_LEVEL, make_directory(LEVEL), fail_call());
    file = written / PER_SHARD;
    do
    :: error == NONE && file * PER_SHARD < target ->
        TRY_IF(!shard[file], LEVEL_CREATE, create_shard(file), fail_call());
        TRY(LEVEL_WRITE, write_nodes(file, written, target), fail_call());
        TRY(LEVEL_SYNC, sync_shard(file), fail_sync_of_shard(file); fail_call());
        file++
    :: else -> break
    od;
    file = 0
}

inline create_shard(number) {
    shard[number] = true;
    shard_unsure[number] = true
}

/* Nothing may be deleted that a record needs which may be on the disk. */
#define IS_USELESS(segment, record) (VALID(record) && (segment) != LAST_OF(record) && \
    ((segment) < FIRST_OF(record) || is_replaced))

/* Segments below a number that do not count.  Where one cannot be removed, the others stay, too. */
inline remove_segments(below) {
    file = 1;
    do
    :: file < below ->
        if
        :: wal[file].named && !(counts & ONLY(file)) ->
            d_step {
                find_replacement(file);
                assert(IS_USELESS(file, commit) && IS_USELESS(file, older));
                is_replaced = false
            };
            TRY(ON(SEGMENT_UNLINK, file), unlink_segment(file), file = SEGMENTS)
        :: else
        fi;
        file++
    :: else -> break
    od;
    file = 0
}

/* Whether a later segment begins there or before, and has a durable name. */
inline find_replacement(segment) {
    is_replaced = false;
    slot = segment + 1;
    do
    :: slot <= SEGMENTS ->
        is_replaced = is_replaced || (wal[slot].named && !wal[slot].name_unsure &&
            wal[slot].base <= wal[segment].base);
        slot++
    :: else -> break
    od;
    slot = 0
}

inline unlink_segment(segment) {
    wal[segment].named = false;
    wal[segment].name_unsure = true
}

/* The threads.  One that is busy when the process ends goes back to its start. */

bool waiting[WRITERS], flusher_busy, checkpointer_busy;

#define CAN_INSERT (up && !down && !closed && !failed && size < BATCHES)

inline insert() {
    contents = contents | (BOOT << (2 * size));
    size++;
    issued = size;
    issued_contents = contents
}

inline rest(is_busy) {
    d_step {
        busy = busy - is_busy;
        is_busy = false;
        error = NONE;
        wanted = 0;
        target = 0;
        last = 0;
        mine = 0
    }
}

inline wait_for_flush() {
    if
    :: durable >= wanted
    :: durable < wanted && (failed || ended || failures != mine) -> error = FATAL
    fi
}

active [WRITERS] proctype Writer() {
    byte error, wanted, target, last, mine;
end:
    do
    :: d_step { CAN_INSERT -> insert() }
    :: d_step {
            CAN_INSERT ->
            insert(); wanted = size; mine = failures; busy++; waiting[_pid] = true
        };
        {
            wait_for_flush();
            atomic {
                assert(durable >= wanted || error != NONE);
                MARK(DURABLE);
                rest(waiting[_pid]);
                may_crash()
            }
        } unless { atomic { down -> rest(waiting[_pid]) } }
    od
}

/* It makes room for the last flush, which is the close's. */
active proctype Flusher() {
    byte error, wanted, target, last, mine;
end:
    do
    :: d_step {
            up && !down && !closed && !failed && durable < size ->
            busy++; flusher_busy = true
        };
        {
            flush();
            rest(flusher_busy)
        } unless { atomic { down -> rest(flusher_busy) } }
    od
}

active proctype Checkpointer() {
    byte error, wanted, target, last, mine;
end:
    do
    :: d_step {
            CHECKPOINTS && up && !down && !closed && !failed && !checkpoint_lock &&
                HAS_NUMBER && (size > checkpoint_size || first_segment != open_segment) ->
            wanted = size; mine = failures; checkpoint_lock = true;
            busy++; checkpointer_busy = true
        };
        {
            checkpoint();
            atomic { UNLOCK(checkpoint_lock); rest(checkpointer_busy) }
        } unless { atomic { down -> rest(checkpointer_busy) } }
    od
}

/* `stopping` says that it was called.  No checkpoint runs meanwhile; the flusher makes the last
 * flush, so nobody else flushes. */
inline close() {
    atomic {
        LOCK(checkpoint_lock);
        closed = true
    };
    !flusher_busy;
    if
    :: failed -> error = FATAL
    :: else -> flush()
    fi;
    if
    :: error == NONE -> write_commit(durable, 0)
    :: else
    fi;
    atomic {
        ended = true;
        UNLOCK(checkpoint_lock);
        if
        :: error == NONE -> MARK(CLOSED)
        :: else
        fi;
        may_crash()
    }
}

inline restart() {
    atomic {
        boots--;
        if
        :: MARK(POWER_FAILED); lose_power(); certain = true
        :: !doubt -> MARK(KILLED)
        fi;
        tidy();
        error = NONE;
        target = 0
    }
}

/* A process after another: it opens the tree, works, and closes it or just ends. */
active proctype Life() {
    byte error, target;
    do
    :: lose_memory();
        {
            open_tree();
            if
            :: boots > 0 || BOOTS == 0 -> stopping = true; close()
            :: true
            fi;
end:
            false
        } unless { down };
        busy == 0;
        restart()
    od
}
