/* What a process has in memory, what the environment may still do, and what a step is. */

#define NONE 0
#define RETRY 1                         /* it raised; the tree works on, and may try again */
#define FATAL 2                         /* it raised; the tree is failed or closed */

#define UNSEEN 255

bool up, closed, failed, stopping;      /* stopping: close was called; closed: nothing is inserted */
bool ended;                             /* and the last flush was made */
byte size, contents;                    /* the tree */
byte durable;                           /* the watermark, behind which everybody is answered */
byte failures;                          /* flushes that failed: whoever waits is told */
byte counts;                            /* a set: the segments that count */
byte open_segment, logged;              /* the log is open there, and leads to this size */
byte written;                           /* what the level files hold, durably */
byte checkpoint_size, first_segment;    /* as the last record that is known to be durable says */
byte recorded;
bool commit_known;                      /* the record that is seen is that one */
bool known_levels, known_level;         /* names that this process made durable */
byte known_shards;                      /* a set */

bool checkpoint_lock, append_lock, commit_lock; /* the insert lock is held for one step */
bool is_new, next_torn;                 /* under the commit lock */
bool is_long, is_replaced;              /* under the append lock; of one step */
byte file, stop_at, next_size, next_ack, next_first;
int next;

byte boots = BOOTS, faults = FAULTS;    /* how often the process may end, how many calls may fail */
bool down;                              /* it ended: nobody takes another step */
byte busy;                              /* how many threads have to notice that */

/* For the oracle. */
byte issued, issued_contents, acknowledged;
byte seen = UNSEEN;                     /* what a recovery found that power cut short */
bool certain;                           /* all that is read is on the disk: power failed before */

#define RAISE(variable, least) variable = ((least) > variable -> (least) : variable)
#define BOOT (1 + BOOTS - boots)

#define MAY_FAIL (faults > 0 && (up || boots > 0))

/* One call of the file system that works or fails, unless one before has failed, or `needed` is
 * false: then it is left out.
 *
 * The process may end, and power fail, behind every call and behind every acknowledgement.  It may
 * end elsewhere, too, but what is on the disk and what was promised are the same there. */
#define TRY(call, effect, failure) TRY_(true, OP(call), effect, failure)
#define TRY_TWO(call, other, effect, failure) TRY_(true, OP(call); OP(other), effect, failure)
#define TRY_IF(needed, call, effect, failure) TRY_(needed, OP(call), effect, failure)
#define TRY_(needed, calls, effect, failure) \
    if \
    :: atomic { \
        error == NONE && (needed) -> calls; \
        attempt(effect, failure) \
    } \
    :: else \
    fi
#define attempt(effect, failure) \
        if \
        :: d_step { effect; skip } \
        :: MAY_FAIL -> faults--; failure \
        fi; \
        may_crash()

/* The words of the model are the sequences of calls and MARKs: see README.md.  A call ON a segment
 * is of a file of the log, and its number is part of the word. */
#ifdef WORD
mtype word[WORD_LENGTH] = { WORD };
byte word_segment[WORD_LENGTH] = { WORD_SEGMENTS };
byte word_at;
#define ON(call, segment) call && word_segment[word_at] == (segment)
#define OP(call) atomic { \
        word_at < WORD_LENGTH && word[word_at] == call -> word_at++; \
        assert(word_at < WORD_LENGTH) }
#else
#define ON(call, segment) call
#define OP(call) printf("%e\n", call)
#endif
#define MARK(event) OP(event)

#define LOCK(lock) !lock -> lock = true
#define UNLOCK(lock) lock = false

inline tidy() {
    at = 0;
    slot = 0;
    value = 0
}

inline may_crash() {
    tidy();
    if
    :: boots > 0 && !down -> down = true
    :: true
    fi
}

/* A call that fails raises; while the tree is being opened, that is the end of it. */
inline fail_call() {
    error = (up -> RETRY : FATAL);
    down = down || !up
}

/* It may have been done all the same. */
#define fail_rename(effect) \
    if \
    :: effect \
    :: true \
    fi; \
    fail_call()

inline fail_segment(segment) {
    fail_sync_of_segment(segment);
    fail_call()
}

/* A failed sync of a directory: the next one would prove nothing. */
inline fail_names() {
    doubt = true;
    failed = true;
    error = FATAL;
    down = down || !up
}

inline lose_memory() {
    d_step {
        up = false; closed = false; ended = false; failed = false; stopping = false;
        size = 0; contents = 0; durable = 0; failures = 0;
        open_segment = 0; logged = 0; written = 0; checkpoint_size = 0; first_segment = 0; recorded = 0;
        commit_known = false; known_levels = false; known_level = false; known_shards = 0;
        checkpoint_lock = false; append_lock = false; commit_lock = false;
        is_new = false; next_torn = false; is_long = false; is_replaced = false;
        counts = 0; stop_at = 0;
        file = 0; next_size = 0; next_ack = 0; next_first = 0; next = 0;
        found_none = false; found_clean = false; refused = false; others = 0;
        goes = false; has_tail = false;
        found_base = 0; found_durable = 0; found_first = 0; found_last = 0; found_start = 0;
        tidy();
        down = false
    }
}
