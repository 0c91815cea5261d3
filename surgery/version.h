/* The release of derope. Manifests and results of evaluations state it, the keys by which `derope run` and
 * `derope eval` recognise finished work include it, and `derope version` prints it. */
#ifndef DEROPE_SURGERY_VERSION_H
#define DEROPE_SURGERY_VERSION_H

#define DEROPE_VERSION "0.1.0"

#endif
