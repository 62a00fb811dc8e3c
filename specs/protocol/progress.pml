/* Progress: under weak fairness everything that was begun ends.  Without crashes. */

#include "log.pml"

/* From some time on no insertion waits, no flush and no checkpoint runs, and the tree is closed. */
ltl everything_ends { <> [] (busy == 0 && closed && !flush_lock && !checkpoint_lock) }
