/* Progress: under weak fairness everything that was begun ends.  Without crashes. */

#include "log.pml"

/* Spin takes a run that is blocked for no violation of a claim.  With a clock none is blocked. */
bool tick;

active proctype Clock() {
    do
    :: tick = !tick
    od
}

/* From some time on no insertion waits, no flush and no checkpoint runs, and the tree is closed if
 * `close` was called.  It need not be: nothing that was begun may need a close to end. */
ltl everything_ends {
    <> [] (busy == 0 && (ended || !stopping) && !append_lock && !checkpoint_lock)
}
