namespace Hadal.Kernels.Driver;

/// <summary>A queue of work on the GPU.</summary>
public sealed unsafe class CudaStream : IDisposable
{
    nint _handle;

    internal CudaStream()
    {
        // Not ordered after the default stream.
        nint handle;
        CudaCheck.Ok(CudaLibrary.cuStreamCreate(&handle, 1), "Creating a stream");
        _handle = handle;
    }

    /// <summary>The driver's own handle, for other libraries that queue work.</summary>
    public nint Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaStream));

    /// <summary>Waits for everything queued so far; errors of kernels that ran show up here.</summary>
    public void Synchronize(string what = "Waiting for a stream") => CudaCheck.Ok(CudaLibrary.cuStreamSynchronize(Handle), what);

    /// <summary>Marks this point of the queue.</summary>
    public void Record(CudaEvent mark)
    {
        ArgumentNullException.ThrowIfNull(mark);
        CudaCheck.Ok(CudaLibrary.cuEventRecord(mark.Handle, Handle), "Recording an event");
    }

    /// <summary>What is queued from now on waits for a mark of another stream.</summary>
    public void WaitFor(CudaEvent mark)
    {
        ArgumentNullException.ThrowIfNull(mark);
        CudaCheck.Ok(CudaLibrary.cuStreamWaitEvent(Handle, mark.Handle, 0), "Waiting for an event");
    }

    /// <summary>Queues filling memory with a byte.</summary>
    public void Fill(ulong address, byte value, long bytes) => CudaCheck.Ok(CudaLibrary.cuMemsetD8Async(address, value, (nuint)bytes, Handle), $"Filling {bytes} bytes");

    /// <summary>Queues a copy from device to device.</summary>
    public void Copy(ulong to, ulong from, long bytes) => CudaCheck.Ok(CudaLibrary.cuMemcpyDtoDAsync_v2(to, from, (nuint)bytes, Handle), $"Copying {bytes} bytes on the GPU");

    /// <summary>Queues a copy from host memory, which must stay until it is done.</summary>
    public void Upload(ulong to, nint from, long bytes) => CudaCheck.Ok(CudaLibrary.cuMemcpyHtoDAsync_v2(to, (void*)from, (nuint)bytes, Handle), $"Copying {bytes} bytes to the GPU");

    /// <summary>Queues a copy to host memory.</summary>
    public void Download(nint to, ulong from, long bytes) => CudaCheck.Ok(CudaLibrary.cuMemcpyDtoHAsync_v2((void*)to, from, (nuint)bytes, Handle), $"Copying {bytes} bytes from the GPU");

    /// <summary>Records what <paramref name="work"/> queues on this stream as a graph, instead of running it.</summary>
    public CudaGraph Capture(Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        CudaCheck.Ok(CudaLibrary.cuStreamBeginCapture_v2(Handle, 1), "Beginning to capture a graph");
        nint graph = 0;
        int code;
        try
        {
            work();
        }
        finally
        {
            code = CudaLibrary.cuStreamEndCapture(Handle, &graph);
        }

        CudaCheck.Ok(code, "Capturing a graph");
        return new CudaGraph(graph);
    }

    /// <summary>Queues a graph.</summary>
    public void Launch(CudaGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        CudaCheck.Ok(CudaLibrary.cuGraphLaunch(graph.Executable, Handle), "Launching a graph");
    }

    /// <summary>Gives the stream back; queued work still runs.</summary>
    public void Dispose()
    {
        if (_handle == 0) return;
        _ = CudaLibrary.cuStreamDestroy_v2(_handle);
        _handle = 0;
    }
}

/// <summary>A mark in a stream, with the time it was passed.</summary>
public sealed unsafe class CudaEvent : IDisposable
{
    nint _handle;

    /// <summary>A mark that keeps time, or one that only orders (cheaper).</summary>
    public CudaEvent(bool timed = true)
    {
        nint handle;
        CudaCheck.Ok(CudaLibrary.cuEventCreate(&handle, timed ? 0u : 2u), "Creating an event");
        _handle = handle;
    }

    internal nint Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaEvent));

    /// <summary>Waits until the mark was passed.</summary>
    public void Synchronize() => CudaCheck.Ok(CudaLibrary.cuEventSynchronize(Handle), "Waiting for an event");

    /// <summary>True when the mark was passed.</summary>
    public bool IsPassed
    {
        get
        {
            int code = CudaLibrary.cuEventQuery(Handle);
            if (code == 600) return false;
            CudaCheck.Ok(code, "Asking an event");
            return true;
        }
    }

    /// <summary>Milliseconds from an earlier mark to this one; both must have been passed.</summary>
    public double MillisecondsSince(CudaEvent earlier)
    {
        ArgumentNullException.ThrowIfNull(earlier);
        float milliseconds;
        CudaCheck.Ok(CudaLibrary.cuEventElapsedTime(&milliseconds, earlier.Handle, Handle), "Time between two events");
        return milliseconds;
    }

    /// <summary>Gives the event back.</summary>
    public void Dispose()
    {
        if (_handle == 0) return;
        _ = CudaLibrary.cuEventDestroy_v2(_handle);
        _handle = 0;
    }
}

/// <summary>Recorded work that is queued as a whole, as often as wanted. What its kernels point to must live as long.</summary>
public sealed unsafe class CudaGraph : IDisposable
{
    nint _executable;

    internal CudaGraph(nint graph)
    {
        nint executable;
        int code = CudaLibrary.cuGraphInstantiateWithFlags(&executable, graph, 0);
        _ = CudaLibrary.cuGraphDestroy(graph);
        CudaCheck.Ok(code, "Preparing a captured graph");
        _executable = executable;
    }

    internal nint Executable => _executable != 0 ? _executable : throw new ObjectDisposedException(nameof(CudaGraph));

    /// <summary>Gives the graph back; it must not be running.</summary>
    public void Dispose()
    {
        if (_executable == 0) return;
        _ = CudaLibrary.cuGraphExecDestroy(_executable);
        _executable = 0;
    }
}
