using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Parallel.Mpi;

/// <summary>Where a message came from and how long it was; Open MPI's MPI_Status.</summary>
[StructLayout(LayoutKind.Sequential)]
struct MpiStatus
{
    public int Source, Tag, Error;
    readonly int _cancelled;
    readonly nuint _bytes;

    public readonly nuint Bytes => _bytes;
}

/// <summary>The few functions of Open MPI (libmpi.so.40) that move bytes. Handles are addresses of the library's own objects.</summary>
sealed unsafe class MpiLibrary
{
    const int ThreadSerialized = 2, ErrorInStatus = 18, MostText = 8192;
    static readonly string[] Files = ["libmpi.so.40", "libmpi.so"];
    static readonly Lazy<MpiLibrary> Loaded = new(static () => new MpiLibrary());

    readonly delegate* unmanaged<int*, byte***, int, int*, int> _init;
    readonly delegate* unmanaged<int> _finalize;
    readonly delegate* unmanaged<nint, int*, int> _rank, _size;
    readonly delegate* unmanaged<nint, nint, int> _setErrorHandler;
    readonly delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int> _send, _receive;
    readonly delegate* unmanaged<int, nint*, int*, MpiStatus*, int> _testAll;
    readonly delegate* unmanaged<int, byte*, int*, int> _errorText;
    readonly delegate* unmanaged<nint, nint*, int> _groupOf;
    readonly delegate* unmanaged<nint, int, int*, nint*, int> _include;
    readonly delegate* unmanaged<nint, nint, int, nint*, int> _create;
    readonly delegate* unmanaged<byte*, int*, int> _processor;
    readonly nint _byte, _errorsReturn;

    MpiLibrary()
    {
        nint library = 0;
        foreach (string file in Files)
            if (NativeLibrary.TryLoad(file, out library)) break;
        if (library == 0) throw new DllNotFoundException($"Open MPI was not found ({string.Join(", ", Files)}). Install it (Debian: openmpi-bin), or use the transport {Ranks.RankTransports.InProcess}.");
        if (!NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out nint world)) throw new DllNotFoundException("The MPI library that was found is not Open MPI; its handles have another form. Install Open MPI 4 (Debian: openmpi-bin).");
        World = world;
        _byte = Get("ompi_mpi_byte");
        _errorsReturn = Get("ompi_mpi_errors_return");
        _init = (delegate* unmanaged<int*, byte***, int, int*, int>)Get("MPI_Init_thread");
        _finalize = (delegate* unmanaged<int>)Get("MPI_Finalize");
        _rank = (delegate* unmanaged<nint, int*, int>)Get("MPI_Comm_rank");
        _size = (delegate* unmanaged<nint, int*, int>)Get("MPI_Comm_size");
        _setErrorHandler = (delegate* unmanaged<nint, nint, int>)Get("MPI_Comm_set_errhandler");
        _send = (delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int>)Get("MPI_Isend");
        _receive = (delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int>)Get("MPI_Irecv");
        _testAll = (delegate* unmanaged<int, nint*, int*, MpiStatus*, int>)Get("MPI_Testall");
        _errorText = (delegate* unmanaged<int, byte*, int*, int>)Get("MPI_Error_string");
        _groupOf = (delegate* unmanaged<nint, nint*, int>)Get("MPI_Comm_group");
        _include = (delegate* unmanaged<nint, int, int*, nint*, int>)Get("MPI_Group_incl");
        _create = (delegate* unmanaged<nint, nint, int, nint*, int>)Get("MPI_Comm_create_group");
        _processor = (delegate* unmanaged<byte*, int*, int>)Get("MPI_Get_processor_name");

        nint Get(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address : throw new DllNotFoundException($"The MPI library has no {name}; expected Open MPI 4.");
    }

    /// <summary>The library, loaded at the first use.</summary>
    /// <exception cref="DllNotFoundException">It is not installed, or is not Open MPI.</exception>
    public static MpiLibrary Instance => Loaded.Value;

    /// <summary>The communicator of all processes.</summary>
    public nint World { get; }

    /// <summary>Begins; once in a process. Errors come back as codes from then on.</summary>
    public void Begin()
    {
        int provided = 0;
        Check(_init(null, null, ThreadSerialized, &provided), "MPI_Init_thread");
        if (provided < ThreadSerialized) throw new InvalidOperationException("This Open MPI serves the main thread only (MPI_THREAD_SERIALIZED is not provided); install one that is built with threads.");
        Check(_setErrorHandler(World, _errorsReturn), "MPI_Comm_set_errhandler");
    }

    /// <summary>Ends; all processes call it.</summary>
    public void End() => Check(_finalize(), "MPI_Finalize");

    /// <summary>This process and how many there are.</summary>
    public (int Rank, int Size) Place(nint communicator)
    {
        int rank, size;
        Check(_rank(communicator, &rank), "MPI_Comm_rank");
        Check(_size(communicator, &size), "MPI_Comm_size");
        return (rank, size);
    }

    /// <summary>Name of the machine.</summary>
    public string Machine()
    {
        byte* text = stackalloc byte[MostText];
        int length;
        Check(_processor(text, &length), "MPI_Get_processor_name");
        return Encoding.UTF8.GetString(text, Math.Clamp(length, 0, MostText));
    }

    /// <summary>Starts a message.</summary>
    public nint Start(bool send, nint address, int bytes, int peer, nint communicator)
    {
        nint request;
        Check(send ? _send(address, bytes, _byte, peer, 0, communicator, &request) : _receive(address, bytes, _byte, peer, 0, communicator, &request), send ? "MPI_Isend" : "MPI_Irecv");
        return request;
    }

    /// <summary>True when all messages have ended; then the statuses are set, with the error of each.</summary>
    public bool Ended(Span<nint> requests, Span<MpiStatus> statuses)
    {
        int flag, code;
        fixed (nint* first = requests)
        fixed (MpiStatus* status = statuses) code = _testAll(requests.Length, first, &flag, status);
        if (code != ErrorInStatus) Check(code, "MPI_Testall");
        return flag != 0 || code == ErrorInStatus;
    }

    /// <summary>A communicator of some members; they alone call it.</summary>
    public nint Part(nint communicator, ReadOnlySpan<int> members, int tag)
    {
        nint all, some, made;
        Check(_groupOf(communicator, &all), "MPI_Comm_group");
        fixed (int* first = members) Check(_include(all, members.Length, first, &some), "MPI_Group_incl");
        Check(_create(communicator, some, tag, &made), "MPI_Comm_create_group");
        Check(_setErrorHandler(made, _errorsReturn), "MPI_Comm_set_errhandler");
        return made;
    }

    /// <summary>The library's words for a code.</summary>
    public string Text(int code)
    {
        byte* text = stackalloc byte[MostText];
        int length;
        return _errorText(code, text, &length) == 0 ? Encoding.UTF8.GetString(text, Math.Clamp(length, 0, MostText)) : $"error {code}";
    }

    void Check(int code, string function)
    {
        if (code != 0) throw new InvalidOperationException($"{function}: {Text(code)}");
    }
}
