// What all kernels share: couplings as tables, and loops over channels that run over registers.
//
// A coupling is a sparse table of numbers that couples components of the left factor with those of the right one to those
// of the result. It is stored as pairs (q, o), with q a pair of path and left component, in the order of o and in that of
// q. Most pairs take one component of the right factor: that one lies beside the pair, and more of them in a list of their
// own. `potentials/native/tables.py` makes it.
//
// `Lanes` is one register's worth of channels, and N of them are one block.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

template <class T> struct Wide;
template <> struct Wide<float> { typedef float Lanes __attribute__((vector_size(64))); };
template <> struct Wide<double> { typedef double Lanes __attribute__((vector_size(64))); };

template <class T> struct Coupling {
    int n_left, n_right, n_out, n_paths, n_q, n_pairs, n_more;
    const int32_t *q_path, *q_left;               // of each q, ascending by path
    const int32_t *out_start, *pair_q, *pair_out; // pairs, ascending by o: those of o begin at out_start[o]
    const int32_t *q_start, *q_pairs;             // numbers of pairs, ascending by q
    const int32_t *pair_right;                    // component of the right factor that each pair takes
    const int32_t *more_pair, *more_right;        // what else pairs take
    std::vector<T> value, more_value;

    Coupling(const int32_t *n, const double *values) {
        n_left = n[0], n_right = n[1], n_out = n[2], n_paths = n[3], n_q = n[4], n_pairs = n[5], n_more = n[6];
        const int32_t *next = n + 7;
        auto take = [&next](int count) { const int32_t *here = next; next += count; return here; };
        q_path = take(n_q), q_left = take(n_q);
        out_start = take(n_out + 1), pair_q = take(n_pairs), pair_out = take(n_pairs);
        q_start = take(n_q + 1), q_pairs = take(n_pairs);
        pair_right = take(n_pairs), more_pair = take(n_more), more_right = take(n_more);
        value.assign(values, values + n_pairs), more_value.assign(values + n_pairs, values + n_pairs + n_more);
    }
};

template <class T> struct Scratch {
    std::vector<T> factors, products; // [pairs], [q, block]
    std::vector<T> radial, slope;     // [paths, channels] where a kernel asks for them
    Scratch(const Coupling<T> &c) : factors(c.n_pairs), products(c.n_q * 64) {}
};

// factors[pair] = sum of numbers times components of the right factor
template <class T> inline void right_factors(const Coupling<T> &c, const T *right, T *__restrict factors) {
    const T *__restrict value = c.value.data();
    for (int pair = 0; pair < c.n_pairs; ++pair) factors[pair] = value[pair] * right[c.pair_right[pair]];
    for (int k = 0; k < c.n_more; ++k) factors[c.more_pair[k]] += c.more_value[k] * right[c.more_right[k]];
}

// Calls body(V{}, integral N, first channel) over all channels: blocks of 4, 2, 1 registers, then single numbers.
template <int N> struct Count { static constexpr int value = N; };
template <class T, class Body> inline void over_channels(int channels, Body body) {
    typedef typename Wide<T>::Lanes Lanes;
    constexpr int lanes = sizeof(Lanes) / sizeof(T);
    int first = 0;
    for (; first + 4 * lanes <= channels; first += 4 * lanes) body(Lanes{}, Count<4>{}, first);
    for (; first + 2 * lanes <= channels; first += 2 * lanes) body(Lanes{}, Count<2>{}, first);
    for (; first + lanes <= channels; first += lanes) body(Lanes{}, Count<1>{}, first);
    for (; first < channels; ++first) body(T{}, Count<1>{}, first);
}

// The n-th register of numbers at a pointer, which need not be aligned.
template <class V, class T> inline V load(const T *pointer, int n = 0) {
    V value;
    std::memcpy(&value, pointer + n * int(sizeof(V) / sizeof(T)), sizeof(V));
    return value;
}
template <class V, class T> inline void store(T *pointer, int n, const V &value) {
    std::memcpy(pointer + n * int(sizeof(V) / sizeof(T)), &value, sizeof(V));
}

// products[q] = radial[path of q] * left[left of q]
template <class V, int N, class T>
inline void left_products(const Coupling<T> &c, const T *radial, const T *left, int channels, T *products) {
    constexpr int block = N * sizeof(V) / sizeof(T);
    for (int q = 0; q < c.n_q; ++q) {
        const T *r = radial + int64_t(c.q_path[q]) * channels, *l = left + int64_t(c.q_left[q]) * channels;
        for (int n = 0; n < N; ++n) store<V>(products + q * block, n, load<V>(r, n) * load<V>(l, n));
    }
}

// sums[n] = sum over the pairs of q of factor times result component
template <class V, int N, class T>
inline void pulled_back(const Coupling<T> &c, int q, const T *factors, const T *out, int channels, V *sums) {
    for (int n = 0; n < N; ++n) sums[n] = V{};
    for (int k = c.q_start[q]; k < c.q_start[q + 1]; ++k) {
        const int pair = c.q_pairs[k];
        const T factor = factors[pair];
        const T *o = out + int64_t(c.pair_out[pair]) * channels;
        for (int n = 0; n < N; ++n) sums[n] += factor * load<V>(o, n);
    }
}

// The sum of what a register holds, by halves: a chain of sixteen additions would wait for each of them.
typedef float Float4 __attribute__((vector_size(16)));
typedef float Float8 __attribute__((vector_size(32)));
typedef double Double2 __attribute__((vector_size(16)));
typedef double Double4 __attribute__((vector_size(32)));
template <class Half, class V> inline Half halved(const V &v) {
    return load<Half>(reinterpret_cast<const char *>(&v)) + load<Half>(reinterpret_cast<const char *>(&v) + sizeof(Half));
}
inline float total(float v) { return v; }
inline double total(double v) { return v; }
inline float total(const Wide<float>::Lanes &v) {
    const Float4 sum = halved<Float4>(halved<Float8>(v));
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
inline double total(const Wide<double>::Lanes &v) {
    const Double2 sum = halved<Double2>(halved<Double4>(v));
    return sum[0] + sum[1];
}

// What one edge adds to the sum of its centre; the right factors lie in `scratch`.
template <class T>
inline void add_edge(const Coupling<T> &c, const T *radial, const T *left, int channels, Scratch<T> &scratch, T *sum) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
        T *products = scratch.products.data();
        left_products<V, N>(c, radial + first, left + first, channels, products);
        for (int o = 0; o < c.n_out; ++o) {
            T *target = sum + int64_t(o) * channels + first;
            V here[N];
            for (int n = 0; n < N; ++n) here[n] = load<V>(target, n);
            for (int pair = c.out_start[o]; pair < c.out_start[o + 1]; ++pair) {
                const T factor = scratch.factors[pair];
                const T *product = products + c.pair_q[pair] * block;
                for (int n = 0; n < N; ++n) here[n] += factor * load<V>(product, n);
            }
            for (int n = 0; n < N; ++n) store<V>(target, n, here[n]);
        }
    });
}

// Calls take(V{}, count, first, path, sums) with the derivative to the radial factors of each path.
template <class T, class Take>
inline void each_radial(const Coupling<T> &c, const T *out, const T *left, int channels, const T *factors, Take take) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value;
        for (int q = 0; q < c.n_q;) {
            const int path = c.q_path[q];
            V sum[N] = {}, pulled[N];
            for (; q < c.n_q && c.q_path[q] == path; ++q) {
                pulled_back<V, N>(c, q, factors, out + first, channels, pulled);
                const T *component = left + int64_t(c.q_left[q]) * channels + first;
                for (int n = 0; n < N; ++n) sum[n] += pulled[n] * load<V>(component, n);
            }
            take(v, count, int64_t(path) * channels + first, sum);
        }
    });
}

// Derivative to the radial factors, added to them; the right factors lie in `scratch`.
template <class T>
inline void pull_radial(const Coupling<T> &c, const T *out, const T *left, int channels, Scratch<T> &scratch, T *radial) {
    each_radial(c, out, left, channels, scratch.factors.data(), [&](auto v, auto count, int64_t at, auto sum) {
        typedef decltype(v) V;
        for (int n = 0; n < decltype(count)::value; ++n)
            store<V>(radial + at, n, load<V>(radial + at, n) + sum[n]);
    });
}

// The same, times given slopes of the radial factors, summed.
template <class T>
inline T along_radial(const Coupling<T> &c, const T *out, const T *left, const T *slope, int channels, Scratch<T> &scratch) {
    T result = 0;
    each_radial(c, out, left, channels, scratch.factors.data(), [&](auto v, auto count, int64_t at, auto sum) {
        typedef decltype(v) V;
        V product = sum[0] * load<V>(slope + at);
        for (int n = 1; n < decltype(count)::value; ++n) product += sum[n] * load<V>(slope + at, n);
        result += total(product);
    });
    return result;
}

// Derivative to the left factor of one edge, added to `sum`; the right factors lie in `scratch`.
template <class T>
inline void pull_left(const Coupling<T> &c, const T *out, const T *radial, int channels, Scratch<T> &scratch, T *sum) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value;
        V pulled[N];
        for (int q = 0; q < c.n_q; ++q) {
            pulled_back<V, N>(c, q, scratch.factors.data(), out + first, channels, pulled);
            const T *weight = radial + int64_t(c.q_path[q]) * channels + first;
            T *target = sum + int64_t(c.q_left[q]) * channels + first;
            for (int n = 0; n < N; ++n) store<V>(target, n, load<V>(target, n) + pulled[n] * load<V>(weight, n));
        }
    });
}

// Derivative to the right factor of one edge; spends the right factors in `scratch`.
template <class T>
inline void pull_right(const Coupling<T> &c, const T *out, const T *radial, const T *left, int channels,
                       Scratch<T> &scratch, T *right) {
    T *dots = scratch.factors.data();
    std::fill(dots, dots + c.n_pairs, T(0));
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
        T *products = scratch.products.data();
        left_products<V, N>(c, radial + first, left + first, channels, products);
        for (int pair = 0; pair < c.n_pairs; ++pair) {
            const T *product = products + c.pair_q[pair] * block;
            const T *component = out + int64_t(c.pair_out[pair]) * channels + first;
            V sum = load<V>(product) * load<V>(component);
            for (int n = 1; n < N; ++n) sum += load<V>(product, n) * load<V>(component, n);
            dots[pair] += total(sum);
        }
    });
    std::fill(right, right + c.n_right, T(0));
    for (int pair = 0; pair < c.n_pairs; ++pair) right[c.pair_right[pair]] += c.value[pair] * dots[pair];
    for (int k = 0; k < c.n_more; ++k) right[c.more_right[k]] += c.more_value[k] * dots[c.more_pair[k]];
}

template <class T> struct Edges {
    int64_t n_atoms, channels;
    const int64_t *neighbour, *reverse, *starts;
    int threads;
};

// Calls body(i, scratch) for i from 0 on, by all threads.
template <class T, class Body> void in_parallel(int64_t count, int threads, const Coupling<T> &c, Body body) {
#pragma omp parallel num_threads(threads)
    {
        Scratch<T> scratch(c);
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < count; ++i) body(i, scratch);
    }
}

} // namespace
