/* The protocol of the durable tree: README.md says what is abstracted, and how to read this.
 *
 * Bounds: BATCHES are issued at most, segments are numbered up to SEGMENTS, the process ends and the
 * tree is opened again BOOTS times, FAULTS calls fail.  WRITERS threads insert; with TOKENS they may
 * wait for the flusher.  RECORDING: acknowledgements are recorded in COMMIT.
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

/* The commit record. */

/* It may have been done all the same. */
#define fail_rename(effect) \
    if \
    :: effect \
    :: true \
    fi; \
    fail_call()

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

/* `checkpoint`: whether it is a new one, of `head` leaves; else the last one stays. */
inline write_commit(count, checkpoint, head) {
    atomic {
        LOCK(commit_lock);
        d_step {
            next_size = (checkpoint -> head : checkpoint_size);
            next_first = (checkpoint -> open_segment : first_segment);
            next_ack = count;
            RAISE(next_ack, durable);
            RAISE(next_ack, recorded);
            next = RECORD(next_size, contents & MASK(next_size), next_ack,
                contents & MASK(next_ack), next_first, open_segment);
            is_new = !commit_known || next != commit;
            commit_known = commit_known && !is_new
        }
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

/* Flush.  Who takes a lock does so in one step with what comes next, and gives it back in one with
 * what came before: nobody could tell the difference. */

/* Write all that is in memory as a unit, if there is anything. */
inline write_unit() {
    target = size;
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
    fi;
    if
    :: RECORDING && error == NONE && durable < target -> write_commit(target, false, 0)
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

/* The first of a round waits for the flush before, and flushes; the others wait for the first. */
inline flush() {
    atomic {
        if
        :: durable >= wanted
        :: else ->
            mine = round;
            users[mine]++;
            is_waiting = true;
            LOCK(held[mine]);
            if
            :: durable >= wanted
            :: else -> LOCK(flush_lock); d_step { new_round() }; begin_flush()
            fi
        fi
    };
    if
    :: is_flushing ->
        sync_unit();
        atomic { acknowledge(); is_flushing = false; UNLOCK(flush_lock); leave_round() }
    :: else -> leave_round()
    fi
}

inline begin_flush() {
    if
    :: durable >= wanted -> UNLOCK(flush_lock)
    :: durable < wanted && (failed || closed) -> error = FATAL; UNLOCK(flush_lock)
    :: else -> is_flushing = true; write_unit()
    fi
}

/* A lock of its own for who comes from now on: one that nobody holds or waits for. */
inline new_round() {
    users[round]--;
    round = 0;
    do
    :: users[round] -> round++
    :: else -> break
    od;
    users[round]++
}

inline leave_round() {
    d_step {
        if
        :: is_waiting -> UNLOCK(held[mine]); users[mine]--
        :: else
        fi;
        is_waiting = false;
        mine = 0
    }
}

/* Checkpoint. */

inline checkpoint() {
    atomic {
        LOCK(checkpoint_lock);
        LOCK(flush_lock);
        if
        :: failed || closed -> error = FATAL
        :: else -> write_unit()
        fi
    };
    if
    :: error != FATAL ->
        sync_unit();
        atomic {
            acknowledge();
            target = logged;
            is_due = error == NONE && (target > checkpoint_size || first_segment != open_segment)
        }
    :: else
    fi;
    if
    :: is_due && wal[open_segment].base != target -> next_segment()
    :: else
    fi;
    UNLOCK(flush_lock);
    if
    :: is_due && error == NONE -> commit_checkpoint()
    :: else
    fi;
    d_step { is_due = false; UNLOCK(checkpoint_lock) }
}

inline commit_checkpoint() {
    write_levels();
    if
    :: error == NONE -> write_commit(target, true, target)
    :: else
    fi;
    if
    :: error == NONE -> remove_segments(open_segment); atomic { MARK(CHECKPOINTED); may_crash() }
    :: else
    fi
}

/* Go on in a new segment.  Once its name may exist, neither it nor the one before may be written to
 * until that name is durable. */
inline next_segment() {
    TRY_TWO(ON(SEGMENT_CREATE, open_segment + 1), ON(SEGMENT_WRITE, open_segment + 1),
        write_header(open_segment + 1, logged), fail_call());
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
inline remove_segments(first) {
    file = 1;
    do
    :: file < first ->
        if
        :: wal[file].named ->
            assert(file < FIRST_OF(commit) && VALID(older) && file < FIRST_OF(older));
            TRY(ON(SEGMENT_UNLINK, file), unlink_segment(file), skip)
        :: else
        fi;
        file++
    :: else -> break
    od;
    file = 0
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
        is_waiting = false;
        is_flushing = false;
        error = NONE;
        wanted = 0;
        target = 0;
        mine = 0
    }
}

inline wait_for_token() {
    if
    :: durable >= wanted
    :: durable < wanted && (failed || closed || failures != mine) -> error = FATAL
    fi
}

active [WRITERS] proctype Writer() {
    byte error, wanted, target, mine;
    bool is_waiting, is_flushing;
end:
    do
    :: d_step { CAN_INSERT -> insert() }
    :: d_step { CAN_INSERT -> insert(); wanted = size; busy++; waiting[_pid] = true };
        {
            if
            :: flush()
            :: TOKENS -> mine = failures; wait_for_token()
            fi;
            atomic {
                assert(durable >= wanted || error != NONE);
                MARK(DURABLE);
                rest(waiting[_pid]);
                may_crash()
            }
        } unless { atomic { down -> rest(waiting[_pid]) } }
    od
}

active proctype Flusher() {
    byte error, wanted, target, mine;
    bool is_waiting, is_flushing;
end:
    do
    :: d_step {
            up && !down && !closed && !failed && durable < size ->
            wanted = size; busy++; flusher_busy = true
        };
        {
            flush();
            rest(flusher_busy)
        } unless { atomic { down -> rest(flusher_busy) } }
    od
}

/* It leaves numbers of segments for recovery. */
active proctype Checkpointer() {
    byte error, wanted, target, mine;
    bool is_waiting, is_flushing;
end:
    do
    :: d_step {
            CHECKPOINTS && up && !down && !closed && !failed &&
                open_segment + boots < SEGMENTS &&
                (size > checkpoint_size || first_segment != open_segment) ->
            busy++; checkpointer_busy = true
        };
        {
            checkpoint();
            rest(checkpointer_busy)
        } unless { atomic { down -> rest(checkpointer_busy) } }
    od
}

/* `stopping` says that it was called. */
inline close() {
    atomic {
        LOCK(checkpoint_lock);
        LOCK(flush_lock);
        closed = true;
        if
        :: failed -> error = FATAL
        :: else -> write_unit()
        fi
    };
    if
    :: error != FATAL -> sync_unit(); atomic { acknowledge() }
    :: else
    fi;
    if
    :: error == NONE -> write_commit(durable, false, 0)
    :: else
    fi;
    atomic {
        UNLOCK(flush_lock);
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
